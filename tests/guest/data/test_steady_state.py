# SPDX-License-Identifier: GPL-2.0
"""No memory is allocated for a request once a device has seen requests of its kind.

Guards against an allocation that slips into the path of a request, where it costs time, and may wait for
memory that only a write to this very disk makes free. Calls of the allocator by the driver itself count;
those of the file system below do not.

In the debug kernel the helpers are functions of their own, which hide the callers.
"""

import re
from pathlib import Path

import pytest

from zbd import MIB
from zbd.process import run, write_setting
from zbd.tracing import ROOT

pytestmark = [pytest.mark.limit(300), pytest.mark.stock_kernel]

BUFFER = "instances/zloop"
LENGTH = 4 * MIB
# All Rust code allocates with these. The helpers before them are only jumps, so the return address is
# the driver's or, if the kernel crate allocates for the driver, that crate's. Memory is freed with them,
# too: as a reallocation to 0 bytes.
RUST = ["krealloc_node_align_noprof", "kvrealloc_node_align_noprof"]
# For functions that are called as C calls them.
C = ["kmalloc", "kmem_cache_alloc"]


def driver_code(field):
    """A filter: whether a field is in the driver's code, from its first function to a page behind the start of its
    last one."""
    lines = [line.split() for line in Path("/proc/kallsyms").read_text().splitlines() if line.endswith("[zloop]")]
    code = [int(address, 16) for address, kind, *_ in lines if kind in "tT"]
    assert min(code) > 0, "the kernel hides its addresses"
    return f"{field} >= {min(code):#x} && {field} <= {max(code) + 4096:#x}"


@pytest.fixture
def watch(tracing, defer):
    """The allocations of Rust code and of the driver are traced, to a buffer of their own."""

    def trace(event, condition):
        tracing.write(f"{BUFFER}/events/{event}/filter", condition)
        switch = ROOT / BUFFER / "events" / event / "enable"
        defer(write_setting, switch, "0")
        write_setting(switch, "1")

    # To know the names of tasks it would have the scheduler traced, too. An instance has this from the one
    # that it is made from.
    defer(tracing.write, "options/record-cmd", "1")
    tracing.write("options/record-cmd", "0")
    (ROOT / BUFFER).mkdir()
    defer((ROOT / BUFFER).rmdir)
    tracing.add_kprobes(*(f"p:zloop/{name} {name} size=%si:u64 caller=$stack0:symbol" for name in RUST))
    for name in RUST:
        trace(f"zloop/{name}", "size > 0")
    for name in C:
        trace(f"kmem/{name}", driver_code("call_site"))


@pytest.fixture
def allocations(watch, tracing):
    """`allocations(function, *args)`: call it. Returns the driver's allocations meanwhile, a line for each."""

    def during(function, *args):
        tracing.write(f"{BUFFER}/trace", "")
        function(*args)
        lines = tracing.read(f"{BUFFER}/trace").splitlines()
        # The module that makes requests is written in Rust, too, and has the kernel crate copy the device's name.
        other = rf"\[requests\]|size={len('/dev/zloop0') + 1} caller=.*CString.*try_from_fmt"
        return [line for line in lines if re.search("call_site=|caller=_RN", line) and not re.search(other, line)]

    return during


@pytest.fixture
def add_begun(watch, add):
    """Adds a device whose zone 2 has data."""

    def add_device(**options):
        device = add(capacity_mb=128, zone_size_mb=4, conv_zones=2, queue_depth=8, **options)
        for at in range(2 * LENGTH, 3 * LENGTH, MIB):
            device.write(at, MIB)
        return device

    return add_device


def make_all_requests(d, r):
    """Make requests of all kinds that carry data, one by one and in batches that are merged, to zones that have been
    written before; flushes and resets, too."""
    common = f"--filename={d.path} --direct=1 --ioengine=io_uring --bs=4k"
    jobs = [
        "--name=read --offset=8M --size=4M --rw=randread",
        "--name=read-on --stonewall --offset=8M --size=4M --rw=read --iodepth_batch_submit=32",
        "--name=overwrite --stonewall --size=8M --rw=randwrite --fsync=100",
        "--name=overwrite-on --stonewall --size=8M --rw=write --iodepth_batch_submit=32",
    ]
    run("fio", *common.split(), *" ".join(f"{job} --iodepth=32 --number_ios=300" for job in jobs).split())
    d.reset_zone(3, 4)
    for at in range(0, 800, 8):
        d.write_zone(3, at, 8)
    for at in range(0, 2048, 256):
        d.write_zone(4, at, 256)
    d.flush()
    ends = r.run(
        f"append at={5 * LENGTH} sectors=8 count=400\n"
        f"append at={5 * LENGTH} sectors=8 count=400 zones=2 step={LENGTH}\nflush",
        32,
    )
    assert {end.error for end in ends} == {"ok"}


@pytest.mark.parametrize(
    "options", [{}, {"buffered_io": True}, {"zone_append": 0}], ids=["direct", "buffered", "emulated-appends"]
)
def test_requests(add_begun, allocations, requests, options):
    """After some rounds nothing is allocated any more. That must be so soon: only the memory that is kept for each of
    the few tags grows a few times."""
    d = add_begun(**options)
    r = requests(d)
    for number in range(1, 9):
        found = allocations(make_all_requests, d, r)
        print(f"round {number}: {len(found)} allocations")
        if not found:
            break
    assert not found


def test_an_allocation_is_seen(add, add_begun, allocations):
    """The other tests prove something: an allocation of the driver's is seen."""
    d = add_begun()
    found = "\n".join(allocations(lambda: add(id=1, capacity_mb=8, zone_size_mb=1)))
    for name in RUST:
        assert f" {name}:" in found
    # The first request to a zone allocates, too.
    found = "\n".join(allocations(d.write_zone, 4, 0, 8))
    assert f" {RUST[0]}:" in found

# SPDX-License-Identifier: GPL-2.0
"""The cgroup and the I/O priority of a task hold for the I/O of its requests to the disk below.

Guards against work that is done by workers, or by a task that submits another one's requests, being
charged to the root cgroup, where no limit holds; and against a request's priority getting lost on the way
to the file. The debug kernel has no such controllers.
"""

import os
import time

import pytest

from zbd import MIB, SECTOR, cgroup
from zbd.cgroup import Cgroup
from zbd.child import Child, in_child
from zbd.files import write_direct
from zbd.filesystem import frozen
from zbd.memory import drop_caches
from zbd.process import one_cpu, write_setting
from zbd.syscalls import IOPRIO_CLASS_BE, IOPRIO_CLASS_IDLE, IOPRIO_CLASS_RT, set_io_priority
from zbd.timing import seconds

pytestmark = [pytest.mark.limit(300), pytest.mark.stock_kernel]

# Kinds of work: the operation, where it is in MiB, the sectors of a request, the number of requests.
WORK = {
    "small-reads": ("read", 0, 8, 64),
    "large-reads": ("read", 0, 512, 8),
    "small-zone-reads": ("read", 32, 8, 64),
    "large-zone-reads": ("read", 32, 512, 8),
    "small-overwrites": ("write", 0, 8, 64),
    "large-overwrites": ("write", 0, 512, 8),
    "small-writes": ("write", 48, 8, 64),
    "large-writes": ("write", 56, 512, 8),
    "appends": ("append", 64, 8, 64),
}


class Worker:
    """Works on a device."""

    def __init__(self, device, requests):
        self.device = device
        self.requests = requests

    def work(self, *kinds):
        for kind in kinds:
            operation, mib, sectors, count = WORK[kind]
            getattr(self, operation)(mib, sectors, count)

    def read(self, mib, sectors, count):
        for at in range(mib * MIB, mib * MIB + sectors * count, sectors):
            self.device.pread(at, sectors)

    def write(self, mib, sectors, count):
        for at in range(mib * MIB, mib * MIB + sectors * count, sectors):
            self.device.pwrite(at, bytes(sectors * SECTOR))

    def append(self, mib, sectors, count):
        ends = self.requests.run(f"append at={mib * MIB} sectors={sectors} count={count}", 4)
        assert {end.error for end in ends} == {"ok"}


@pytest.fixture
def groups(defer):
    """Two cgroups. Kernel code is patched when controllers get into use."""
    control = cgroup.ROOT / "cgroup.subtree_control"
    write_setting(control, "+io +memory")
    defer(write_setting, control, "-io -memory")
    with one_cpu():
        made = [Cgroup("one"), Cgroup("other")]
    for group in made:
        defer(group.remove)
        defer(group.kill)
    return made


@pytest.fixture
def one(groups):
    return groups[0]


@pytest.fixture
def other(groups):
    return groups[1]


@pytest.fixture
def add_worker(groups, requests, add):
    """Adds a device with data in conventional zones and in the first sequential one."""

    def add_device(**options):
        device = add(capacity_mb=96, zone_size_mb=8, conv_zones=4, **options)
        for mib in 0, 32:
            for at in range(mib * MIB, (mib + 4) * MIB, MIB):
                device.write(at, MIB)
        device.flush()
        return Worker(device, requests(device))

    return add_device


@pytest.fixture
def below(scratch):
    """The number of the disk with the file system of the zone files."""
    device = os.stat(scratch).st_dev
    return f"{os.major(device)}:{os.minor(device)}"


@pytest.fixture
def charged(below):
    """`charged(group, "rbytes")`: the bytes of the disk below that a cgroup was charged with."""

    def read_bytes(group, which):
        for line in group.read("io.stat").splitlines():
            disk, *pairs = line.split()
            if disk == below:
                return int(dict(pair.split("=") for pair in pairs).get(which, 0))
        return 0

    return read_bytes


def within(group, function, *args):
    """Call a function in a cgroup."""
    in_child(group.add, function, *args)


def use_scheduler(device):
    """A worker of the block layer submits the requests from now on."""
    write_setting(f"/sys/block/{device.name}/queue/scheduler", "mq-deadline")


def check_charges(worker, one, charged):
    """All bytes are charged to the cgroup of the task, also those that workers read or write."""
    for kind, (operation, _, sectors, count) in WORK.items():
        which = "rbytes" if operation == "read" else "wbytes"
        before = charged(one, which)
        within(one, worker.work, kind)
        got = charged(one, which) - before
        print(f"{kind}: {got} bytes")
        assert got >= sectors * count * SECTOR, kind


@pytest.mark.c_driver_fails(39)
def test_charges(add_worker, one, charged):
    check_charges(add_worker(), one, charged)


def test_charges_with_scheduler(add_worker, one, charged):
    worker = add_worker()
    use_scheduler(worker.device)
    check_charges(worker, one, charged)


def test_others_are_not_charged(add_worker, one, other, charged):
    """A worker that did something for one cgroup does its next work for another one."""
    worker = add_worker()
    for second in Cgroup("."), other:
        within(one, worker.work, "large-overwrites", "appends")
        before = charged(one, "wbytes")
        assert before > 0
        within(second, worker.work, "large-overwrites", "appends")
        assert charged(one, "wbytes") == before


@pytest.mark.c_driver_fails(39)
def test_limit_of_bytes(add_worker, one, below, scratch):
    """A limit of 2 MiB/s makes 6 MiB take 3 s, through the zoned disk as through a file."""
    worker = add_worker()
    write_setting(one.path / "io.max", f"{below} wbps={2 << 20}")
    for mib in 0, 48:
        assert seconds(within, one, worker.write, mib, 512, 24) >= 2
    file = scratch / "file"
    file.touch()
    assert seconds(within, one, write_direct, file, bytes(6 << 20)) >= 2


def test_limit_of_requests_with_scheduler(add_worker, one, below):
    """A limit of 40 requests a second makes 120 small ones that a scheduler has take 3 s."""
    worker = add_worker()
    use_scheduler(worker.device)
    write_setting(one.path / "io.max", f"{below} wiops=40")
    assert seconds(within, one, worker.write, 0, 8, 120) >= 2


@pytest.fixture
def issued(tracing, below):
    """`issued()`: the data that was read from or written to the disk below since the recording began: bytes and
    priority of each request. The file system's own requests are marked as metadata, or have no data."""
    tracing.enable("block/block_rq_issue")

    def read_trace():
        found = []
        for line in tracing.read().splitlines():
            disk, operation, size, *more = [*line.partition("block_rq_issue: ")[2].split(), "", "", ""][:10]
            if disk == below.replace(":", ",") and operation[0] in "RW" and "M" not in operation and int(size):
                found.append((int(size), more[4].split(",")[0]))
        return found

    return read_trace


@pytest.mark.c_driver_fails(39)
def test_priority(add_worker, tracing, issued):
    worker = add_worker()
    for kind in WORK:
        with tracing.recording():
            in_child(lambda: set_io_priority(IOPRIO_CLASS_RT, 3), worker.work, kind)
        priorities = {priority for _, priority in issued()}
        assert priorities == {"rt"}, kind


def append_frozen(worker, scratch, *prepare):
    """Make appends that wait for the file system to be thawed: four of 4 KiB by the first child and four of 32 KiB by
    the second one, all in one zone. They wait behind one that a worker has begun, so that they leave together."""
    with frozen(scratch):
        children = [Child(lambda: set_io_priority(IOPRIO_CLASS_IDLE), worker.append, 64, 8, 1)]
        # A worker that needs longer would begin with more of them.
        time.sleep(2)
        for sectors, waiting, function in zip((8, 64), (5, 9), prepare, strict=True):
            children.append(Child(function, worker.append, 64, sectors, 4))
            while worker.device.in_flight[1] < waiting:
                assert children[-1].is_alive, "the appends did not wait"
                time.sleep(0.1)
    for child in children:
        child.wait()


def test_batch_of_one_cgroup(add_worker, scratch, one, other, charged):
    """Requests that are written together are charged to one cgroup, so they must be one cgroup's."""
    worker = add_worker()
    worker.append(64, 8, 1)
    before = [charged(group, "wbytes") for group in (one, other)]
    append_frozen(worker, scratch, one.add, other.add)
    after = [charged(group, "wbytes") for group in (one, other)]
    assert [end - start for start, end in zip(before, after, strict=True)] == [4 * 4096, 4 * 32768]


def test_batch_of_one_priority(add_worker, scratch, tracing, issued):
    """The same of a priority."""
    worker = add_worker()
    worker.append(64, 8, 1)
    with tracing.recording():
        append_frozen(
            worker,
            scratch,
            lambda: set_io_priority(IOPRIO_CLASS_RT, 3),
            lambda: set_io_priority(IOPRIO_CLASS_BE, 3),
        )
    written = {name: sum(size for size, priority in issued() if priority == name) for name in ("rt", "be")}
    assert written == {"rt": 4 * 4096, "be": 4 * 32768}


def in_page_cache(group):
    """The bytes of the page cache that a cgroup was charged with."""
    return int(dict(line.split() for line in group.read("memory.stat").splitlines())["file"])


def test_page_cache(add_worker, one):
    """Pages that workers have in the page cache are charged as well."""
    worker = add_worker(buffered_io=True)
    before = in_page_cache(one)
    within(one, worker.write, 8, 512, 16)
    assert in_page_cache(one) - before >= 3 << 20


def dying_groups():
    return int(dict(line.split() for line in Cgroup(".").read("cgroup.stat").splitlines())["nr_dying_descendants"])


def test_cgroups_go_away(add_worker, other, defer):
    """The references to the state of a cgroup are given back: it is gone when its last task is."""
    worker = add_worker()
    kinds = ("large-overwrites", "large-reads", "appends")
    # The first child charges what stays in memory to another cgroup: this process has the same programs mapped, so
    # that their pages are not dropped.
    within(other, worker.work, *kinds)
    before = dying_groups()
    with one_cpu():
        short = Cgroup("short")
    defer(lambda: short.path.exists() and short.remove())
    within(short, worker.work, *kinds)
    short.remove()
    for _ in range(60):
        # The kernel lets go of a cgroup's dirty inodes when they are clean and the next cgroup goes.
        os.sync()
        drop_caches()
        with one_cpu():
            Cgroup("next").remove()
        if dying_groups() <= before:
            return
        time.sleep(0.5)
    pytest.fail("the cgroup does not go away")

# SPDX-License-Identifier: GPL-2.0
"""The list of devices in the control device, and the files in debugfs: counters and zones.

Guards the promises that a script can read the list and make the devices again with its commands,
that a reader in small steps gets one text, that each request and each error is counted once, and
that readers do no harm while devices come and go.
"""

import contextlib
import os
import threading
from errno import EAGAIN, EINVAL, EIO, ETOOMANYREFS
from pathlib import Path

import pytest

from zbd import fails, refused, syscalls
from zbd.control import PATH as CONTROL
from zbd.driver import unload
from zbd.threads import Threads

DEBUGFS = Path("/sys/kernel/debug/zloop")
SMALL = {"capacity_mb": 16, "zone_size_mb": 1}


def listed(control):
    """The lines for the devices. Two lines of syntax come before them."""
    return control.read().splitlines()[2:]


@pytest.mark.c_driver_fails("it shows the syntax only")
def test_list(base_dir, control, add):
    """Each device has a line after the C driver's two."""
    assert len(control.read().splitlines()) == 2
    d = add(conv_zones=1, **SMALL)
    add(
        "capacity=10M,zone_size=4M,zone_capacity=3M,conv_zones=1-1,max_open_zones=2,queue_depth=8,buffered_io,"
        "zone_append=0,discard_write_cache,lazy_files,block_size=4096,volatile_cache,rotational",
        id=3,
    )
    assert [line[:10] for line in control.read().splitlines()[:2]] == ["add id=%d,", "remove id="]
    assert listed(control) == [
        "zloop0 live add id=0,capacity_mb=16,zone_size_mb=1,zone_capacity_mb=1,conv_zones=1,nr_queues=1,"
        f"queue_depth=128,max_open_zones=0,zone_append=1,base_dir={base_dir}",
        "zloop3 live add id=3,capacity=10M,zone_size_mb=4,zone_capacity_mb=3,conv_zones=1-1,block_size=4096,"
        "nr_queues=1,queue_depth=8,max_open_zones=2,zone_append=0,buffered_io,discard_write_cache,lazy_files,"
        f"volatile_cache,rotational,base_dir={base_dir}",
    ]
    d.remove()
    assert [line.split()[:2] for line in listed(control)] == [["zloop3", "live"]]
    # A refused command adds no device.
    control.rejects(EINVAL, f"add id=9,base_dir={base_dir},conv_zones=99")
    assert len(listed(control)) == 1


@pytest.mark.c_driver_fails("it shows the syntax only")
def test_commands_make_them_again(scratch, control, add):
    """A script saves devices and restores them, whatever the path is."""
    d = add(**SMALL)
    odd = scratch / os.fsdecode(b"a b=c%s\xff")
    other = add("capacity=9M,zone_size_mb=2,conv_zones=0:2,nr_queues=2,ordered_zone_append", id=7, base_dir=odd)
    other.write_zone(1, 0, 64)
    saved = listed(control)
    d.remove()
    other.remove()
    for line in saved:
        name, state, command = line.split(" ", 2)
        assert (name[:-1], state) == ("zloop", "live")
        control.write(f"{command}\n")
    assert listed(control) == saved
    other.check_zone(1, 0, 64)


@pytest.mark.c_driver_fails("there is nothing that could change")
def test_small_reads(add, defer):
    """A reader in small steps gets one text, even while devices come and go."""
    for id in range(6):
        add(id=id, capacity_mb=4, zone_size_mb=1)
    whole = Path(CONTROL).read_bytes()

    def open_control():
        fd = os.open(CONTROL, os.O_RDWR)
        defer(os.close, fd)
        return fd

    for step in 1, 7, 100, 4096:
        reader = open_control()
        assert b"".join(iter(lambda reader=reader, step=step: os.read(reader, step), b"")) == whole
    # At any place, and past the end.
    fd = open_control()
    for at in 0, 1, 180, len(whole) - 1, len(whole), len(whole) + 5, 2**40:
        assert os.pread(fd, 50, at) == whole[at : at + 50]
    # What comes and goes meanwhile is not mixed in.
    other = open_control()
    text = os.pread(fd, 200, 0)
    os.write(other, b"remove id=0")
    os.write(fd, b"remove id=2")
    while piece := os.pread(fd, 33, len(text)):
        text += piece
    assert text == whole
    assert b"zloop0" not in os.pread(fd, 4096, 0)
    assert b"zloop1" in os.pread(other, 4096, 0)


@pytest.mark.c_driver_fails("it counts nothing")
def test_counters(add, requests):
    """Each request is counted once, and so is its failure."""
    d = add(capacity_mb=24, zone_size_mb=2, zone_capacity_mb=1, conv_zones=2, max_open_zones=3)
    d.zones()
    before = d.counters()

    def read(*names):
        now = d.counters()
        return [now[name] for name in names]

    for name in "zone_append", "zone_open", "zone_close", "zone_finish", "zone_reset", "zone_reset_all":
        assert read(name, f"{name}_errors") == [0, 0]
    d.write(0, 8)  # conventional
    for nr in 2, 3, 4:
        d.write_zone(nr, 0, 8)
    assert read("open_zones", "open_zones_most", "active_zones", "implicit_closes") == [3, 3, 3, 0]
    d.write_zone(5, 0, 8)  # closes zone 2
    d.open_zone(6)  # closes zone 3
    d.close_zone(6)
    d.finish_zone(4)
    d.check(0, 8)
    d.check_zone(5, 0, 8)
    d.reset_zone(3)
    refused(d, EIO, d.write_zone, 5, 104, 8)
    d.report()
    d.reset_zone(5)  # its plug is in error
    requests(d).append(7 * d.zone_sectors, 8)
    d.flush()
    now = d.counters()
    took = {name: now[name] - before[name] for name in now}
    wanted = {
        "zone_append": 1,
        "zone_open": 1,
        "zone_close": 1,
        "zone_finish": 1,
        "zone_reset": 2,
        "zones_reset": 2,
        "implicit_closes": 2,
        "flush": 1,
        "read": 2,
    }
    assert {name: took[name] for name in wanted} == wanted
    assert took["write"] - took["write_errors"] == 5
    assert read("open_zones_most", "active_zones_most") == [3, 5]
    # A refused request is an error.
    for nr in 8, 9, 10:
        d.open_zone(nr)
    refused(d, ETOOMANYREFS, d.open_zone, 11)
    assert read("zone_open_errors") == [1]
    d.reset_all_zones()
    assert read("zone_reset_all", "open_zones", "active_zones") == [1, 0, 0]
    # They begin anew with each add.
    d.remove()
    assert not d.debugfs.exists()
    d.add()
    assert read("zone_reset_all", "implicit_closes", "open_zones_most") == [0, 0, 0]


@pytest.mark.c_driver_fails("it shows none")
def test_zones(add):
    """The zones are listed as a report has them; those that are equal share a line."""
    d = add(capacity="23M", zone_size_mb=2, zone_capacity_mb=1, conv_zones="0-1:4")
    zones = d.debugfs / "zones"
    assert zones.read_text().splitlines() == [
        "0-1 cnv nw - 4096 4096",
        "2-3 seq em 0 2048 4096",
        "4 cnv nw - 4096 4096",
        "5-10 seq em 0 2048 4096",
        "11 seq em 0 2048 2048",
    ]
    d.write(0, 8)
    d.write_zone(2, 0, 64)
    d.write_zone(5, 0, 64)
    d.close_zone(5)
    d.open_zone(6)
    d.write_zone(7, 0, 8)
    d.finish_zone(7)
    d.write_zone(8, 0, 8)
    used = [
        "0-1 cnv nw - 4096 4096",
        "2 seq oi 64 2048 4096",
        "3 seq em 0 2048 4096",
        "4 cnv nw - 4096 4096",
        "5 seq cl 64 2048 4096",
        "6 seq oe 0 2048 4096",
        "7 seq fu 2048 2048 4096",
        "8 seq oi 8 2048 4096",
        "9-10 seq em 0 2048 4096",
        "11 seq em 0 2048 2048",
    ]
    assert zones.read_text().splitlines() == used
    # A device that is added again has no open zones.
    d.add_recorded()
    closed = [line.replace(" oe 0 ", " em 0 ").replace(" oi ", " cl ") for line in used]
    assert zones.read_text().splitlines() == closed


@pytest.mark.c_driver_fails("it shows none")
def test_many_zones(add):
    """Of many zones there is no more to read than are in use."""
    d = add(capacity="256G", zone_size="1M", conv_zones=0, lazy_files=True)
    d.write_zone(200000, 0, 8)
    assert (d.debugfs / "zones").read_text().splitlines() == [
        "0-199999 seq em 0 2048 2048",
        "200000 seq oi 8 2048 2048",
        "200001-262143 seq em 0 2048 2048",
    ]


@pytest.mark.c_driver_fails("there is nothing to read")
def test_readers_meet_removals(add, defer):
    """A task reads everything while devices come and go."""
    over = threading.Event()
    defer(over.set)

    def read_all():
        while not over.is_set():
            for file in Path(CONTROL), *DEBUGFS.glob("zloop*/*"):
                with contextlib.suppress(OSError):
                    file.read_bytes()

    with Threads() as threads:
        threads.start(read_all)
        for _ in range(8):
            d = add(**SMALL)
            d.write_zone(9, 0, 8)
            d.delete()
        over.set()
    assert not os.listdir(DEBUGFS)


@pytest.mark.c_driver_fails("there is nothing to read")
def test_open_file_keeps_the_module(add):
    """A file that is open outlives its device, and keeps the module."""
    d = add(**SMALL)
    with open(d.debugfs / "counters", "rb", buffering=0) as file:
        d.remove()
        fails(EIO, file.read, 4096)
        fails(EAGAIN, syscalls.delete_module, "zloop")
    # The last close may still be on its way.
    unload("zloop", patience=10)

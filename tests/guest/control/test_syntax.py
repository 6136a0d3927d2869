# SPDX-License-Identifier: GPL-2.0
"""The control device: its syntax, options and defaults.

Guards the promise that a script written for the C driver runs unchanged.
"""

import os
import stat
from errno import EEXIST

import pytest

from zbd import MIB, NOT_WP
from zbd.control import PATH as CONTROL
from zbd.filesystem import bind, umount
from zbd.process import run
from zbd.zloop import Zloop

SMALL = {"capacity_mb": 16, "zone_size_mb": 1, "conv_zones": 1}


def geometry(device):
    """Zones, MiB of a zone, MiB of its capacity, conventional zones."""
    zones = device.zones()
    last = zones[-1]
    return len(zones), last.len // MIB, last.capacity // MIB, device.conditions().count(NOT_WP)


def queue_depth(device):
    return int(device.sysfs("mq/0/nr_tags"))


@pytest.fixture
def add_by(control, base_dir, defer):
    """`add_by(text, 3)`: write a command that adds device 3, or whatever device it is that comes."""

    def add_device(text, id=0):
        (base_dir / str(id)).mkdir(exist_ok=True)
        device = Zloop(control, id, base_dir, (), {})
        defer(lambda: device.exists and device.remove())
        control.write(text)
        assert stat.S_ISBLK(os.stat(device.path).st_mode)
        return device

    return add_device


def test_listing(control):
    text = (
        "add id=%d,capacity_mb=%u,zone_size_mb=%u,zone_capacity_mb=%u,conv_zones=%u,base_dir=%s,nr_queues=%u,"
        "queue_depth=%u,buffered_io,zone_append=%u,ordered_zone_append,discard_write_cache,max_open_zones=%u\n"
        "remove id=%d\n"
    )
    assert control.read() == text
    # In pieces and from two readers it is the same text.
    with open(CONTROL, "rb", buffering=0) as one, open(CONTROL, "rb", buffering=0) as other:
        assert one.read(7) == text[:7].encode()
        assert other.read(4096) == text.encode()
        assert one.read(3) == text[7:10].encode()


def test_node():
    node = os.stat(CONTROL)
    assert stat.filemode(node.st_mode) == "crw-------"
    assert node.st_uid == 0
    assert os.major(node.st_rdev) == 10  # misc
    assert os.path.exists("/sys/class/misc/zloop-control")


def test_defaults(scratch, add_by, defer):
    """Everything is at its default, as the documentation says."""
    directory = scratch / "local/zloop/0"
    directory.mkdir(parents=True)
    bind(scratch / "local", "/var/local")
    defer(umount, "/var/local")
    d = add_by("add")
    assert geometry(d) == (64, 256, 256, 8)
    assert d.queue("max_open_zones") == 0
    assert len(os.listdir("/sys/block/zloop0/mq")) == 1
    assert queue_depth(d) == 128
    for name, size in ("cnv-000000", 1 << 28), ("cnv-000007", 1 << 28), ("seq-000008", 0), ("seq-000063", 0):
        file = (directory / name).stat()
        assert (file.st_size, stat.S_IMODE(file.st_mode)) == (size, 0o600)
    assert len(list(directory.glob("cnv-*"))) == 8
    assert len(list(directory.glob("seq-*"))) == 56
    d.remove()


@pytest.mark.parametrize(
    ("options", "zones"),
    [
        pytest.param("capacity_mb=64,zone_size_mb=4,zone_capacity_mb=3,conv_zones=3", (16, 4, 3, 3), id="all"),
        # The capacity is rounded down to whole zones.
        pytest.param("capacity_mb=67,zone_size_mb=4,conv_zones=0", (16, 4, 4, 0), id="sequential"),
        pytest.param("capacity_mb=67,zone_size_mb=4,conv_zones=15", (16, 4, 4, 15), id="conventional"),
        # The default number of conventional zones.
        pytest.param("capacity_mb=9,zone_size_mb=1", (9, 1, 1, 8), id="default"),
    ],
)
def test_geometry_options(add, options, zones):
    """Each option does what it is for."""
    assert geometry(add(options)) == zones


def test_separators(control, base_dir, add_by):
    """Separators, empty items, spaces before the options; of two that are the same the last one counts."""
    for text in (
        f"add id=0,base_dir={base_dir},capacity_mb=16,zone_size_mb=1,conv_zones=2",
        f"add id=0\nbase_dir={base_dir}\ncapacity_mb=16\nzone_size_mb=1,conv_zones=2\n",
        f"add ,,id=0,,base_dir={base_dir},,capacity_mb=16,zone_size_mb=1,conv_zones=2,,",
        f"add    id=0,base_dir={base_dir},capacity_mb=16,zone_size_mb=1,conv_zones=2",
        f"add conv_zones=2,zone_size_mb=1,capacity_mb=16,base_dir={base_dir},id=0",
        f"add id=0,base_dir=/nowhere,base_dir={base_dir},capacity_mb=16,zone_size_mb=1,conv_zones=5,conv_zones=2",
    ):
        d = add_by(text)
        assert geometry(d) == (16, 1, 1, 2)
        d.close()
        control.write("remove id=0")
        control.write(f"{text}\n")
        control.write("remove   id=0,\n")


def test_leading_zeros(base_dir, add_by):
    """Zeros before a number do not make it another one."""
    d = add_by(f"add id=00,base_dir={base_dir},capacity_mb=064,zone_size_mb=0004,conv_zones=03,queue_depth=020")
    assert geometry(d) == (16, 4, 4, 3)
    assert queue_depth(d) == 20


@pytest.mark.c_driver_fails("it reads them for the id only")
def test_hexadecimal(control, base_dir, add_by):
    """Hexadecimal numbers, which the kernel reads in most places."""
    options = "capacity_mb=0x40,zone_size_mb=0x4,conv_zones=0X3,queue_depth=0x1F"
    d = add_by(f"add id=0xa,base_dir={base_dir},{options}", 10)
    assert geometry(d) == (16, 4, 4, 3)
    assert queue_depth(d) == 31
    d.close()
    control.write("remove id=0xA")


def test_write_returns_its_length(control, base_dir):
    """The write returns all that was written, in one go."""
    (base_dir / "0").mkdir()
    for text in f"add id=0,base_dir={base_dir},capacity_mb=16,zone_size_mb=1,conv_zones=1", "remove id=0\n":
        assert control.write(text) == len(text)


def test_id_is_chosen(base_dir, add_by):
    """Without an id, or with a negative one, it is the first that is free."""
    small = f"base_dir={base_dir},capacity_mb=16,zone_size_mb=1,conv_zones=1"
    for id in range(5):
        (base_dir / str(id)).mkdir()
    add_by(f"add {small}", 0)
    one = add_by(f"add id=-1,{small}", 1)
    add_by(f"add id=3,{small}", 3)
    add_by(f"add id=-7,{small}", 2)
    add_by(f"add {small}", 4)
    one.remove()
    add_by(f"add {small}", 1)


def test_large_id(add):
    add(id=1000000, **SMALL).remove()
    d = add(id=2147483647, **SMALL)
    assert run("lsblk", "-dno", "NAME", d.path).strip() == "zloop2147483647"
    d.remove()


def test_id_in_use(scratch, base_dir, control, add):
    d = add(**SMALL)
    d.write_zone(3, 0, 8)
    control.rejects(EEXIST, f"add id=0,base_dir={base_dir},capacity_mb=16,zone_size_mb=1,conv_zones=1")
    other = scratch / "other/0"
    other.mkdir(parents=True)
    control.rejects(EEXIST, f"add id=0,base_dir={other.parent},capacity_mb=16,zone_size_mb=1,conv_zones=1")
    assert not list(other.iterdir())
    d.check_zone(3, 0, 8)


def test_relative_base_dir(scratch, control, add_by, monkeypatch):
    """A relative directory is the writer's."""
    for directory in "there/0", "with space/1", "slash/2":
        (scratch / directory).mkdir(parents=True)
    options = "capacity_mb=16,zone_size_mb=1,conv_zones=1"
    with monkeypatch.context() as patch:
        patch.chdir(scratch)
        add_by(f"add id=0,base_dir=there,{options}")
    assert (scratch / "there/0/seq-000015").exists()
    add_by(f"add id=1,base_dir={scratch}/with space,{options}", 1)
    add_by(f"add id=2,base_dir={scratch}/slash/,{options}", 2)


def test_all_options(base_dir, control, add_by):
    """All flags and limits together, each of which must be taken."""
    d = add_by(
        "add id=5,capacity_mb=64,zone_size_mb=4,zone_capacity_mb=2,conv_zones=2,max_open_zones=4,"
        f"base_dir={base_dir},nr_queues=2,queue_depth=32,buffered_io,zone_append=1,ordered_zone_append,"
        "discard_write_cache",
        5,
    )
    assert geometry(d) == (16, 4, 2, 2)
    assert d.queue("max_open_zones") == 4
    assert queue_depth(d) == 32
    d.close()
    control.write("remove id=5")


def test_log(log, add):
    """The log says what came and went."""
    log.mark()
    d = add(**SMALL)
    log.expect("16 zones")
    log.mark()
    d.remove()
    log.expect("removed")

# SPDX-License-Identifier: GPL-2.0
"""Commands that are wrong.

Guards the promise that bad input of every kind gets the right errno and one line in the log, which
names the option and says what is allowed; that it leaves nothing behind - no device, no file,
nothing open - and that the next correct command works.
"""

import ctypes
import os
from errno import EEXIST, EFAULT, EINVAL, ENAMETOOLONG, ENODEV, ENOENT, ENOMEM, ENOTDIR

import pytest

from zbd import fails
from zbd.control import PATH as CONTROL
from zbd.filesystem import mount, umount

SMALL = "capacity_mb=16,zone_size_mb=1,conv_zones=1"
SIZES = ["capacity_mb", "zone_size_mb", "zone_capacity_mb"]
COUNTS = ["conv_zones", "max_open_zones", "max_active_zones", "nr_queues", "queue_depth", "zone_append"]
NO_NUMBERS = ["", "x", "1x", "0x", "1k", "1.5", "1 "]
TOO_LARGE = ["4294967296", "99999999999999999999", "0x100000000", "-4294967297"]


@pytest.fixture
def base_dir(scratch, image_file):
    """It is on a file system of its own: that it can be unmounted shows that nothing is open on it."""
    directory = image_file("tmpfs", 32, scratch / "z").mount_point
    (directory / "0").mkdir()
    return directory


@pytest.fixture
def unharmed(base_dir, add):
    """`unharmed()`: nothing is there that was not there before, and a correct add works."""

    def check():
        assert not os.path.exists("/sys/block/zloop0")
        assert not list((base_dir / "0").iterdir())
        umount(base_dir)
        mount("tmpfs", base_dir, "tmpfs", "size=32M")
        add(SMALL).remove()

    return check


@pytest.fixture
def bad(control, base_dir):
    """`bad(options)`: an add with these options is refused. More arguments are patterns for the log."""

    def check(options, *patterns, errno=EINVAL):
        control.rejects(errno, f"add id=0,base_dir={base_dir},{options}", *patterns)

    return check


def test_operation(control, unharmed):
    for text in "\n", " ", ",", "foo", "ad id=0", "ADD", "list", "0":
        control.rejects(EINVAL, text)
    # Bytes that are no text, a NUL among them.
    for data in b"\x01\xff", b"\0add\0\xff\n":
        fails(EINVAL, control.write, data)
    unharmed()


@pytest.mark.c_driver_fails(29)
def test_operation_is_a_word(control, base_dir, unharmed):
    """`add` and `remove` are words: "addid=0" is neither."""
    control.rejects(EINVAL, f"addid=0,base_dir={base_dir},{SMALL}")
    control.rejects(EINVAL, f"adder id=0,base_dir={base_dir},{SMALL}")
    unharmed()
    control.add(SMALL, id=0, base_dir=base_dir)
    control.rejects(EINVAL, "removeid=0")
    control.rejects(EINVAL, "removed id=0")
    control.remove(0)


def test_unknown_option(bad, unharmed):
    for item in "foo", "foo=1", "capacity=16", "capacity_mb", "CONV_ZONES=1", "buffered_io=2", "zone_append", "=1", "=":
        bad(f"{SMALL},{item}")
    unharmed()


def test_numbers(bad, unharmed):
    """Each option that takes a number refuses all else."""
    for option in SIZES + COUNTS:
        for number in [*NO_NUMBERS, " 1", "+1", "-1", *TOO_LARGE]:
            bad(f"{SMALL},{option}={number}")
    unharmed()


@pytest.mark.c_driver_fails("it takes an id of twenty digits for another one")
def test_numbers_of_the_id(control, base_dir, unharmed):
    """An id has a sign."""
    for number in [*NO_NUMBERS, "-", "2147483648", "-2147483649", *TOO_LARGE, "18446744073709551616"]:
        control.rejects(EINVAL, f"add base_dir={base_dir},{SMALL},id={number}")
        control.rejects(EINVAL, f"remove id={number}")
    unharmed()


def test_ranges(bad, unharmed):
    for options in (
        "capacity_mb=0,zone_size_mb=1,conv_zones=1",
        "capacity_mb=3,zone_size_mb=4,conv_zones=0",  # below one zone
        "capacity_mb=16,zone_size_mb=0,conv_zones=1",
        "capacity_mb=16,zone_size_mb=3,conv_zones=1",  # not a power of two
        "capacity_mb=60,zone_size_mb=6,conv_zones=1",
        "capacity_mb=131072,zone_size_mb=32768,conv_zones=1",  # above 16 GiB
        "capacity_mb=16,zone_size_mb=1,conv_zones=1,zone_capacity_mb=0",
        "capacity_mb=16,zone_size_mb=1,conv_zones=1,zone_capacity_mb=2",
        "capacity_mb=16,zone_size_mb=4,conv_zones=1,zone_capacity_mb=5",
        "capacity_mb=16,zone_size_mb=1,conv_zones=16",
        "capacity_mb=16,zone_size_mb=1,conv_zones=17",
        "capacity_mb=16,zone_size_mb=1,conv_zones=4294967295",
        "capacity_mb=8,zone_size_mb=1,conv_zones=8",
        f"{SMALL},max_open_zones=16",
        f"{SMALL},max_open_zones=4294967295",
        f"{SMALL},max_active_zones=16",
        f"{SMALL},max_active_zones=3,max_open_zones=4",
        f"{SMALL},nr_queues=0",
        f"{SMALL},queue_depth=0",
        f"{SMALL},zone_append=2",
    ):
        bad(options)
    unharmed()


@pytest.mark.c_driver_fails("the kernel warns of the amount of memory that it asks for")
def test_too_many_zones(bad, unharmed):
    """These are far more zones than there is memory or directory for."""
    bad("capacity_mb=4294967295,zone_size_mb=1,conv_zones=1", errno=(EINVAL, ENOMEM))
    unharmed()


def test_too_long(control, base_dir, bad, unharmed):
    """A command is no longer than a page; one that is longer is not carried out in part."""
    bad(SMALL + 4096 * ",", errno=ENOMEM)
    control.rejects(ENOMEM, 1000000 * "x")
    bad(f"{SMALL},base_dir=/{3000 * 'x'}", errno=(EINVAL, ENAMETOOLONG, ENOENT))
    # A whole page is fine.
    control.write(f"add id=0,base_dir={base_dir},{SMALL}".ljust(4096, ","))
    control.remove(0)
    for file in (base_dir / "0").iterdir():
        file.unlink()
    unharmed()


def test_bad_address():
    libc = ctypes.CDLL(None, use_errno=True)
    with open(CONTROL, "r+b", buffering=0) as file:
        for address, size in (None, 10), (8, 4096), (2**63 + 4096, 16):
            assert libc.write(file.fileno(), ctypes.c_void_p(address), size) == -1
            assert ctypes.get_errno() == EFAULT
        assert libc.write(file.fileno(), None, 0) in (0, -1)


def test_missing_directory(control, log, base_dir, unharmed):
    """The directory that holds those of the devices is not made."""
    control.rejects(EINVAL, f"add id=3,base_dir={base_dir}/none,{SMALL}")
    log.expect(f"{base_dir}/none")
    assert not (base_dir / "none").exists()
    control.rejects(EINVAL, f"add id=0,base_dir=/no/such/place,{SMALL}")
    control.rejects((EINVAL, ENOENT), f"add id=0,base_dir=,{SMALL}")
    unharmed()


def test_directory_is_none(control, base_dir, add):
    """A file is where the directory should be."""
    (base_dir / "3").touch()
    (base_dir / "file").touch()
    control.rejects(ENOTDIR, f"add id=3,base_dir={base_dir},{SMALL}")
    control.rejects(ENOTDIR, f"add id=0,base_dir={base_dir}/file,{SMALL}")
    control.rejects(ENOTDIR, f"add id=0,base_dir=/dev/null,{SMALL}")
    add(SMALL).remove()


def test_remove(control, add, unharmed):
    for id in 0, -1, 2147483647:
        control.rejects(ENODEV, f"remove id={id}")
    for text in "remove", "remove ", "remove id=", "remove id=x", "remove id=2147483648":
        control.rejects(EINVAL, text)
    unharmed()
    d = add(SMALL)
    for options in "", " id=0,conv_zones=1", " id=0,foo", " zloop0", " id=0,buffered_io":
        control.rejects(EINVAL, f"remove{options}")
    assert os.path.exists(d.path)
    d.remove()
    control.rejects(ENODEV, "remove id=0")


@pytest.mark.c_driver_fails(29)
def test_one_log_line(control, base_dir, bad, add, unharmed):
    """Each refusal logs one line, which says which option was wrong, and what is right."""
    for options, *patterns in (
        (f"{SMALL},foo=1", "foo"),
        (f"{SMALL},conv_zones=x", "conv_zones"),
        (f"{SMALL},conv_zones=", "conv_zones"),
        (f"{SMALL},queue_depth=4294967296", "queue_depth", "4294967296"),
        (f"{SMALL},queue_depth=0", "queue_depth"),
        (f"{SMALL},nr_queues=0", "nr_queues"),
        (f"{SMALL},zone_append=2", "zone_append", r"\b0\b.*\b1\b"),
        ("capacity_mb=60,zone_size_mb=6,conv_zones=1", "zone_size_mb", "16384", "power"),
        ("capacity_mb=131072,zone_size_mb=32768,conv_zones=1", "zone_size_mb", "16384"),
        ("capacity_mb=3,zone_size_mb=4,conv_zones=0", "capacity_mb", r"\b3\b", r"\b[45]\b"),
        ("capacity_mb=0,zone_size_mb=4,conv_zones=0", "capacity_mb"),
        ("capacity_mb=16,zone_size_mb=4,zone_capacity_mb=5,conv_zones=1", "zone_capacity_mb", r"\b5\b", r"\b4\b"),
        ("capacity_mb=16,zone_size_mb=1,conv_zones=16", "conv_zones", r"\b16\b", r"\b15\b"),
        (f"{SMALL},max_open_zones=16", "max_open_zones", r"\b16\b", r"\b15\b"),
        (f"{SMALL},max_active_zones=16", "max_active_zones", r"\b16\b", r"\b15\b"),
        (f"{SMALL},max_active_zones=3,max_open_zones=4", "max_open_zones", r"\b4\b", r"\b3\b", "max_active_zones"),
        ("capacity_mb=8,zone_size_mb=1,conv_zones=8", "conv_zones", r"\b8\b", r"\b7\b"),
        ("capacity_mb=4294967295,zone_size_mb=1,conv_zones=1", "capacity_mb|zones"),
    ):
        bad(options, *patterns, errno=(EINVAL, ENOMEM))
    unharmed()
    control.rejects(EINVAL, "frobnicate id=0", "frobnicate", "add", "remove")
    control.rejects(EINVAL, "remove", "id")
    control.rejects(EINVAL, "remove id=0,conv_zones=1", "conv_zones")
    control.rejects(ENODEV, "remove id=17", "17")
    control.rejects(EINVAL, f"add id=3,base_dir={base_dir}/none,{SMALL}", "zloop3|id=3", f"{base_dir}/none")
    control.rejects(ENOMEM, 5000 * "x", "4096|page")
    d = add(SMALL)
    control.rejects(EEXIST, f"add id=0,base_dir={base_dir},{SMALL}", "zloop0|id=0")
    d.remove()

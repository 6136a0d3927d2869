# SPDX-License-Identifier: GPL-2.0
"""A zoned block device: reports, zone commands, and direct I/O in this very process."""

import fcntl
import mmap
import os
import struct
import threading
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Final

from zbd import sector_data
from zbd.handle import Handle
from zbd.zone import SECTOR, ZONE_BYTES, Condition, Zone

BLKGETSIZE64: Final = 0x80081272
BLKDISCARD: Final = 0x1277
BLKZEROOUT: Final = 0x127F
BLKREPORTZONE: Final = 0xC0101282
BLKRESETZONE: Final = 0x40101283
BLKGETZONESZ: Final = 0x80041284
BLKGETNRZONES: Final = 0x80041285
BLKOPENZONE: Final = 0x40101286
BLKCLOSEZONE: Final = 0x40101287
BLKFINISHZONE: Final = 0x40101288
BLKREPORTZONEV2: Final = 0xC010128E

BLK_ZONE_REP_CACHED: Final = 1 << 31

FALLOC_FL_KEEP_SIZE: Final = 1
FALLOC_FL_PUNCH_HOLE: Final = 2


class ZonedDevice(Handle):
    """A zoned block device, opened for direct I/O unless `flags` say something else."""

    def __init__(self, path: str | os.PathLike[str], flags: int = os.O_RDWR | os.O_DIRECT) -> None:
        super().__init__(path, flags)
        self._buffers: dict[tuple[int, int], mmap.mmap] = {}
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.path})"

    @property
    def name(self) -> str:
        """The kernel's name of it: `zloop0`."""
        return self.path.rpartition("/")[2]

    # What sysfs says of it.

    def sysfs(self, attribute: str) -> str:
        """The text of an attribute: `sysfs("queue/scheduler")`."""
        return Path(f"/sys/block/{self.name}/{attribute}").read_text(encoding="ascii").rstrip("\n")

    def queue(self, attribute: str) -> int:
        """The number in an attribute of its queue: `queue("max_open_zones")`."""
        return int(self.sysfs(f"queue/{attribute}"))

    @property
    def in_flight(self) -> tuple[int, int]:
        """Reads, and requests of all other kinds, that are under way."""
        reads, others = self.sysfs("inflight").split()
        return int(reads), int(others)

    @property
    def number(self) -> str:
        """Its number as traces have it: `252,0`."""
        return self.sysfs("dev").replace(":", ",")

    @cached_property
    def zone_sectors(self) -> int:
        """Sectors from one zone's start to the next one's."""
        return int(struct.unpack("<I", fcntl.ioctl(self.fd, BLKGETZONESZ, bytes(4)))[0])

    @property
    def nr_zones(self) -> int:
        return int(struct.unpack("<I", fcntl.ioctl(self.fd, BLKGETNRZONES, bytes(4)))[0])

    @property
    def nr_sectors(self) -> int:
        """The device's size in sectors."""
        return int(struct.unpack("<Q", fcntl.ioctl(self.fd, BLKGETSIZE64, bytes(8)))[0]) // SECTOR

    # Reports.

    def report(self, sector: int = 0, count: int = 4096) -> list[Zone]:
        """At most `count` zones from the one with this sector on."""
        return self._report(BLKREPORTZONE, sector, count, 0)

    def cached_report(self, sector: int = 0, count: int = 4096) -> list[Zone]:
        """The same from what the block layer keeps of the zones, if that is possible."""
        return self._report(BLKREPORTZONEV2, sector, count, BLK_ZONE_REP_CACHED)

    def _report(self, command: int, sector: int, count: int, flags: int) -> list[Zone]:
        report = bytearray(16 + ZONE_BYTES * count)
        struct.pack_into("<QII", report, 0, sector, count, flags)
        fcntl.ioctl(self.fd, command, report)
        _, found, self.report_flags = struct.unpack_from("<QII", report)
        return [Zone.parse(report, 16 + ZONE_BYTES * index) for index in range(found)]

    def zones(self) -> list[Zone]:
        """All zones."""
        return self.report()

    def zone(self, nr: int) -> Zone:
        """The zone of this number."""
        return self.report(nr * self.zone_sectors, 1)[0]

    def state(self, nr: int) -> tuple[Condition, int | None]:
        """Condition and write pointer of a zone."""
        zone = self.zone(nr)
        return zone.cond, zone.wp

    def conditions(self, *numbers: int) -> list[Condition]:
        """The conditions of these zones; without any number of all zones."""
        zones = self.zones()
        return [zones[nr].cond for nr in numbers] if numbers else [zone.cond for zone in zones]

    def write_pointers(self, numbers: Iterable[int]) -> list[int | None]:
        """The write pointers of these zones, relative to their starts."""
        zones = self.zones()
        return [zones[nr].wp for nr in numbers]

    # Zone commands, each for `count` zones from zone `nr` on.

    def open_zone(self, nr: int, count: int = 1) -> None:
        self._zone_command(BLKOPENZONE, nr, count)

    def close_zone(self, nr: int, count: int = 1) -> None:
        self._zone_command(BLKCLOSEZONE, nr, count)

    def finish_zone(self, nr: int, count: int = 1) -> None:
        self._zone_command(BLKFINISHZONE, nr, count)

    def reset_zone(self, nr: int, count: int = 1) -> None:
        self._zone_command(BLKRESETZONE, nr, count)

    def reset_all_zones(self) -> None:
        """One REQ_OP_ZONE_RESET_ALL, for that is what the kernel makes of the whole range."""
        self._zone_command(BLKRESETZONE, 0, self.nr_zones)

    def zone_ioctl(self, command: int, sector: int, count: int) -> None:
        """A zone command (BLKOPENZONE ...) for any range of sectors."""
        fcntl.ioctl(self.fd, command, struct.pack("<QQ", sector, count))

    def _zone_command(self, command: int, nr: int, count: int) -> None:
        size = self.zone_sectors
        start, end, device_end = nr * size, (nr + count) * size, self.nr_sectors
        # The last zone may be smaller. A device whose power has failed has no size.
        if start < device_end < end < device_end + size:
            end = device_end
        self.zone_ioctl(command, start, end - start)

    # Data.

    def pwrite(self, sector: int, data: bytes, flags: int = 0) -> None:
        """One write; the flags are those of pwritev2(2)."""
        buffer = self._buffer(len(data))
        buffer[:] = data
        written = os.pwritev(self.fd, [buffer], sector * SECTOR, flags)
        if written != len(data):
            raise AssertionError(f"short write at sector {sector}: {written} of {len(data)} bytes")

    def pread(self, sector: int, count: int) -> bytes:
        """One read."""
        buffer = self._buffer(count * SECTOR)
        read = os.preadv(self.fd, [buffer], sector * SECTOR)
        if read != len(buffer):
            raise AssertionError(f"short read at sector {sector}: {read} of {len(buffer)} bytes")
        return buffer[:]

    def write(self, sector: int, count: int, seed: int = 1) -> None:
        """Write the pattern of this seed to these sectors."""
        self.pwrite(sector, sector_data.pattern(sector, count, seed))

    def check(self, sector: int, count: int, seed: int | None = 1) -> None:
        """These sectors hold what was written with that seed; zeros if it is ZEROS."""
        step = 2048
        for at in range(sector, sector + count, step):
            sector_data.verify(self.pread(at, min(step, sector + count - at)), at, seed)

    def write_zone(self, nr: int, offset: int, count: int, seed: int = 1) -> None:
        """The same in a zone, `offset` sectors from its start."""
        self.write(nr * self.zone_sectors + offset, count, seed)

    def check_zone(self, nr: int, offset: int, count: int, seed: int | None = 1) -> None:
        self.check(nr * self.zone_sectors + offset, count, seed)

    def write_at_wp(self, nr: int, count: int, seed: int = 1) -> None:
        """Write at the zone's write pointer; not a zone append, for which see `KernelRequests`."""
        wp = self.zone(nr).wp
        if wp is None:
            raise AssertionError(f"zone {nr} has no write pointer")
        self.write_zone(nr, wp, count, seed)

    def flush(self) -> None:
        """fsync: write back what is cached, and flush the device."""
        os.fsync(self.fd)

    def discard(self, sector: int, count: int) -> None:
        fcntl.ioctl(self.fd, BLKDISCARD, struct.pack("<QQ", sector * SECTOR, count * SECTOR))

    def zero_out(self, sector: int, count: int) -> None:
        """Make these sectors read as zeros; they keep their space."""
        fcntl.ioctl(self.fd, BLKZEROOUT, struct.pack("<QQ", sector * SECTOR, count * SECTOR))

    def punch_hole(self, sector: int, count: int) -> None:
        """Make these sectors read as zeros; their space is given back."""
        from zbd import syscalls

        syscalls.fallocate(self.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, sector * SECTOR, count * SECTOR)

    def _buffer(self, size: int) -> mmap.mmap:
        """Memory that direct I/O takes, one for each thread and size in bytes."""
        key = (threading.get_ident(), size)
        with self._lock:
            if key not in self._buffers:
                self._buffers[key] = mmap.mmap(-1, size)
            return self._buffers[key]

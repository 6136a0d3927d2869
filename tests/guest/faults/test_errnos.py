# SPDX-License-Identifier: GPL-2.0
"""The file system of the zone files fails with errnos that mean something to a submitter.

Guards that a request which failed is an I/O error to those above: EAGAIN would say that it may be
tried where waiting is allowed, ETOOMANYREFS and EOVERFLOW that zones are to be closed or finished.
"""

from errno import EAGAIN, EIO, EOVERFLOW, EREMCHG, ETOOMANYREFS

import pytest

from zbd import fails
from zbd.errors import errno_of
from zbd.fuse import MemoryFileSystem


@pytest.mark.c_driver_fails("it passes them on")
def test_errnos_of_a_file_system(cleanup, base_dir, add):
    below = cleanup.enter_context(MemoryFileSystem(base_dir))
    d = add(capacity_mb=6, zone_size_mb=1, conv_zones=2)
    d.write(0, 64)
    d.write_zone(2, 0, 64, 2)
    d.flush()
    for error in EAGAIN, ETOOMANYREFS, EOVERFLOW, EREMCHG, EIO:
        d.write(64, 8)
        below.error = error
        fails(EIO, d.pread, 0, 8)
        fails(EIO, d.pread, 4096, 8)
        fails(EIO, d.write, 0, 64)
        fails(EIO, d.flush)
        fails(EIO, d.write_zone, 3, 0, 8)
        below.error = None
        d.zone(3)
        # The first flush may still report the failure.
        if errno_of(d.flush):
            d.flush()
    d.check(0, 64)
    d.check_zone(2, 0, 64, 2)
    d.write_zone(3, 0, 8)
    d.check_zone(3, 0, 8)

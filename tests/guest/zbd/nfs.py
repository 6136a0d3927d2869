# SPDX-License-Identifier: GPL-2.0
"""The kernel's NFS server, for this very machine.

The server asks user space for a client's name, for the directory that a file handle belongs to,
and how that is exported: Documentation/filesystems/nfs/rpc-cache.rst. A thread answers. Every client
may do everything, and there is one directory, the root of all.
"""

import os
import select
import threading
import time
from pathlib import Path
from typing import Final

from zbd import filesystem, syscalls
from zbd.process import modprobe, run

_NFSD: Final = Path("/proc/fs/nfsd")
_CACHES: Final = ("auth.unix.ip", "nfsd.fh", "nfsd.export")
# NFSEXP_INSECURE_PORT, NFSEXP_NOSUBTREECHECK and NFSEXP_FSID.
_EXPORT_FLAGS: Final = 0x2 | 0x400 | 0x2000


class NfsServer:
    """Exports a directory as long as a `with` lasts."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._questions: dict[int, str] = {}
        self._stop = os.eventfd(0)
        self._thread = threading.Thread(target=self._answer_all, daemon=True)

    def __enter__(self) -> "NfsServer":
        modprobe("dns_resolver", "nfsd", "nfsv4")
        run("busybox", "ip", "link", "set", "lo", "up")
        self.directory.mkdir(exist_ok=True)
        if not os.path.ismount(_NFSD):
            syscalls.mount("nfsd", _NFSD, "nfsd")
        for cache in _CACHES:
            self._questions[os.open(f"/proc/net/rpc/{cache}/channel", os.O_RDWR)] = cache
        self._thread.start()
        self._set("versions", "-2 -3 +4 +4.1 +4.2")
        self._set("nfsv4leasetime", "10")
        self._set("nfsv4gracetime", "10")
        self._set("portlist", "tcp 2049")
        self._set("threads", "4")
        return self

    def __exit__(self, *_: object) -> None:
        self._set("threads", "0")
        # The server forgets the directory, whose file system can be unmounted then.
        for cache in "nfsd.fh", "nfsd.export":
            Path(f"/proc/net/rpc/{cache}/flush").write_text(str(int(time.time())), encoding="ascii")
        os.eventfd_write(self._stop, 1)
        self._thread.join()
        for fd in self._questions:
            os.close(fd)
        os.close(self._stop)
        filesystem.umount(_NFSD)

    def mount(self, where: Path) -> None:
        """Mount what is exported, as a client."""
        options = "vers=4.2,addr=127.0.0.1,clientaddr=127.0.0.1,sec=sys"
        run("mount", "-i", "-t", "nfs4", "-o", options, "127.0.0.1:/", where)

    def _set(self, file: str, value: str) -> None:
        (_NFSD / file).write_text(f"{value}\n", encoding="ascii")

    def _answer_all(self) -> None:
        while self._stop not in (ready := select.select([*self._questions, self._stop], [], [])[0]):
            for fd in ready:
                for question in os.read(fd, 65536).decode().splitlines():
                    try:
                        os.write(fd, f"{self._answer(self._questions[fd], question)}\n".encode())
                    except OSError as error:
                        # An unknown kind of file handle, for example: it does not exist then.
                        print(f"NFS server: {question}: {error}")

    def _answer(self, cache: str, question: str) -> str:
        expiry = int(time.time()) + 3600
        if cache == "auth.unix.ip":
            return f"{question} {expiry} all"
        if cache == "nfsd.fh":
            return f"{question} {expiry} {self.directory}"
        # Nobody is somebody else than the client says, and the file system's id is 0.
        return f"{question} {expiry} {_EXPORT_FLAGS} 65534 65534 0"

# SPDX-License-Identifier: GPL-2.0
"""A file system in memory that fails as it is told: a FUSE server in a thread of this process.

It knows no more of the protocol than the files of a device need: include/uapi/linux/fuse.h of
Linux.
"""

import contextlib
import errno
import os
import stat
import struct
import threading
from pathlib import Path
from typing import Final

from zbd import filesystem
from zbd.process import modprobe

_ROOT: Final = 1


class MemoryFileSystem:
    """It is mounted on a directory from entering a `with` until leaving it."""

    error: int | None = None
    """The errno with which reads, writes and syncs of files fail."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        # A directory has names and nodes, a file its data.
        self._nodes: dict[int, dict[bytes, int] | bytearray] = {_ROOT: {}}

    def __enter__(self) -> "MemoryFileSystem":
        modprobe("fuse")
        self._fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        options = f"fd={self._fd},rootmode=40000,user_id=0,group_id=0,allow_other"
        filesystem.mount("memory", self.directory, "fuse", options)
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.error = None
        filesystem.umount_if_mounted(self.directory)
        self._thread.join()
        os.close(self._fd)

    def _serve(self) -> None:
        while True:
            try:
                request = os.read(self._fd, (1 << 20) + 65536)
            except OSError as error:
                if error.errno == errno.ENODEV:
                    return  # it was unmounted
                continue
            _, opcode, unique, node = struct.unpack_from("<IIQQ", request)
            if opcode in (2, 42):  # FORGET, BATCH_FORGET: nothing is ever forgotten
                continue
            status, data = 0, b""
            try:
                data = self._answer(opcode, node, request[40:])
            except OSError as error:
                status = -(error.errno or errno.EIO)
            with contextlib.suppress(OSError):  # it may be that nobody waits for it any more
                os.write(self._fd, struct.pack("<IiQ", 16 + len(data), status, unique) + data)

    def _answer(self, opcode: int, node: int, body: bytes) -> bytes:
        match opcode:
            case 26:  # INIT: big writes, 256 pages
                return struct.pack("<IIIIHHIIHHI28x", 7, 31, 1 << 20, 1 << 5 | 1 << 22, 16, 12, 1 << 20, 1, 256, 0, 0)
            case 1:  # LOOKUP
                return self._entry(self._find(node, _names(body)[0]))
            case 3:  # GETATTR
                return self._attributes(node)
            case 4:  # SETATTR
                valid, size = struct.unpack_from("<I12xQ", body)
                if valid & 8:
                    data = self._file(node)
                    del data[size:]
                    data.extend(bytes(size - len(data)))
                return self._attributes(node)
            case 9:  # MKDIR
                return self._entry(self._make(node, _names(body[8:])[0], {}))
            case 35:  # CREATE
                return self._entry(self._make(node, _names(body[16:])[0], bytearray())) + bytes(16)
            case 10 | 11:  # UNLINK, RMDIR
                self._take_out(node, _names(body)[0])
                return b""
            case 12 | 45:  # RENAME, RENAME2
                old, new = _names(body[8:] if opcode == 12 else body[16:])
                self._directory(struct.unpack_from("<Q", body)[0])[new] = self._take_out(node, old)
                return b""
            case 14 | 27:  # OPEN, OPENDIR
                return bytes(16)
            case 28:  # READDIR
                return self._entries(node, struct.unpack_from("<8xQ", body)[0])
            case 15:  # READ
                self._fail_as_told()
                offset, size = struct.unpack_from("<8xQI", body)
                return bytes(self._file(node)[offset : offset + size])
            case 16:  # WRITE
                self._fail_as_told()
                offset, size = struct.unpack_from("<8xQI", body)
                data = self._file(node)
                data.extend(bytes(max(0, offset - len(data))))
                data[offset : offset + size] = body[40 : 40 + size]
                return struct.pack("<II", size, 0)
            case 20:  # FSYNC
                self._fail_as_told()
                return b""
            case 17:  # STATFS
                return struct.pack("<5Q4I24x", 1 << 20, 1 << 19, 1 << 19, 1 << 20, 1 << 19, 4096, 255, 4096, 0)
            case 18 | 25 | 29 | 30 | 36 | 38:  # RELEASE, FLUSH, RELEASEDIR, FSYNCDIR, INTERRUPT, DESTROY
                return b""
        raise OSError(errno.ENOSYS, "")

    def _fail_as_told(self) -> None:
        if self.error:
            raise OSError(self.error, "")

    def _directory(self, node: int) -> dict[bytes, int]:
        content = self._nodes[node]
        if isinstance(content, bytearray):
            raise OSError(errno.ENOTDIR, "")
        return content

    def _file(self, node: int) -> bytearray:
        content = self._nodes[node]
        if isinstance(content, dict):
            raise OSError(errno.EISDIR, "")
        return content

    def _find(self, parent: int, name: bytes) -> int:
        if name not in self._directory(parent):
            raise OSError(errno.ENOENT, "")
        return self._directory(parent)[name]

    def _take_out(self, parent: int, name: bytes) -> int:
        node = self._find(parent, name)
        del self._directory(parent)[name]
        return node

    def _make(self, parent: int, name: bytes, content: dict[bytes, int] | bytearray) -> int:
        if name in self._directory(parent):
            raise OSError(errno.EEXIST, "")
        node = max(self._nodes) + 1
        self._nodes[node] = content
        self._directory(parent)[name] = node
        return node

    def _attr(self, node: int) -> bytes:
        content = self._nodes[node]
        is_dir = isinstance(content, dict)
        size = 0 if is_dir else len(content)
        mode = stat.S_IFDIR | 0o755 if is_dir else stat.S_IFREG | 0o600
        return struct.pack("<6Q10I", node, size, -(-size // 512), 0, 0, 0, 0, 0, 0, mode, 1 + is_dir, 0, 0, 0, 4096, 0)

    def _attributes(self, node: int) -> bytes:
        return struct.pack("<QII", 0, 0, 0) + self._attr(node)

    def _entry(self, node: int) -> bytes:
        return struct.pack("<QQQQII", node, 0, 0, 0, 0, 0) + self._attr(node)

    def _entries(self, node: int, offset: int) -> bytes:
        out = b""
        for nr, (name, child) in enumerate(self._directory(node).items()):
            if nr >= offset and len(out) < 3000:
                one = struct.pack("<QQII", child, nr + 1, len(name), 0) + name
                out += one + bytes(-len(one) % 8)
        return out


def _names(body: bytes) -> list[bytes]:
    return body.rstrip(b"\0").split(b"\0")

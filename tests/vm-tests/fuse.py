# SPDX-License-Identifier: GPL-2.0
"""A file system in memory that fails as it is told: fuse.py DIRECTORY.

While there is a file `fail` in its root, what its name is followed by in there, an
errno's name, is what reads, writes and syncs of the files in directories fail with.
It runs until it is unmounted. No more of the protocol than a device's files need:
include/uapi/linux/fuse.h of Linux.
"""

import ctypes
import errno
import os
import stat
import struct
import sys

ROOT = 1
nodes = {ROOT: {}}  # directories are dicts of names, files are bytearrays


def attr(node):
    what = nodes[node]
    is_dir = isinstance(what, dict)
    size = 0 if is_dir else len(what)
    mode = stat.S_IFDIR | 0o755 if is_dir else stat.S_IFREG | 0o600
    return struct.pack("<6Q10I", node, size, -(-size // 512), 0, 0, 0, 0, 0, 0, mode, 1 + is_dir, 0, 0, 0, 4096, 0)


def attr_out(node):
    return struct.pack("<QII", 0, 0, 0) + attr(node)


def entry(node):
    return struct.pack("<QQQQII", node, 0, 0, 0, 0, 0) + attr(node)


def make(parent, name, what):
    if name in nodes[parent]:
        raise OSError(errno.EEXIST, "")
    node = max(nodes) + 1
    nodes[node] = what
    nodes[parent][name] = node
    return node


def names(body):
    return body.rstrip(b"\0").split(b"\0")


def find(parent, name):
    if name not in nodes[parent]:
        raise OSError(errno.ENOENT, "")
    return nodes[parent][name]


def check(node):
    told = nodes[ROOT].get(b"fail")
    if told and node not in nodes[ROOT].values():
        raise OSError(getattr(errno, nodes[told].decode().strip() or "EIO"), "")


def dirents(node, offset):
    out = b""
    for nr, (name, child) in enumerate(nodes[node].items()):
        if nr >= offset and len(out) < 3000:
            one = struct.pack("<QQII", child, nr + 1, len(name), 0) + name
            out += one + bytes(-len(one) % 8)
    return out


def answer(opcode, node, body):
    if opcode == 26:  # INIT: big writes, 256 pages
        return struct.pack("<IIIIHHIIHHI28x", 7, 31, 1 << 20, 1 << 5 | 1 << 22, 16, 12, 1 << 20, 1, 256, 0, 0)
    if opcode == 1:  # LOOKUP
        return entry(find(node, names(body)[0]))
    if opcode == 3:  # GETATTR
        return attr_out(node)
    if opcode == 4:  # SETATTR
        valid, size = struct.unpack_from("<I12xQ", body)
        if valid & 8:
            data = nodes[node]
            del data[size:]
            data.extend(bytes(size - len(data)))
        return attr_out(node)
    if opcode == 9:  # MKDIR
        return entry(make(node, names(body[8:])[0], {}))
    if opcode == 35:  # CREATE
        return entry(make(node, names(body[16:])[0], bytearray())) + bytes(16)
    if opcode in (10, 11):  # UNLINK, RMDIR
        find(node, names(body)[0])
        del nodes[node][names(body)[0]]
        return b""
    if opcode in (12, 45):  # RENAME, RENAME2
        old, new = names(body[8:] if opcode == 12 else body[16:])
        nodes[struct.unpack_from("<Q", body)[0]][new] = find(node, old)
        del nodes[node][old]
        return b""
    if opcode in (14, 27):  # OPEN, OPENDIR
        return bytes(16)
    if opcode == 28:  # READDIR
        return dirents(node, struct.unpack_from("<8xQ", body)[0])
    if opcode == 15:  # READ
        check(node)
        offset, size = struct.unpack_from("<8xQI", body)
        return bytes(nodes[node][offset : offset + size])
    if opcode == 16:  # WRITE
        check(node)
        offset, size = struct.unpack_from("<8xQI", body)
        data = nodes[node]
        data.extend(bytes(max(0, offset - len(data))))
        data[offset : offset + size] = body[40 : 40 + size]
        return struct.pack("<II", size, 0)
    if opcode == 20:  # FSYNC
        check(node)
        return b""
    if opcode == 17:  # STATFS
        return struct.pack("<5Q4I24x", 1 << 20, 1 << 19, 1 << 19, 1 << 20, 1 << 19, 4096, 255, 4096, 0)
    if opcode in (18, 25, 29, 30, 36, 38):  # RELEASE, FLUSH, RELEASEDIR, FSYNCDIR, INTERRUPT, DESTROY
        return b""
    raise OSError(errno.ENOSYS, "")


fd = os.open("/dev/fuse", os.O_RDWR)
libc = ctypes.CDLL(None, use_errno=True)
options = f"fd={fd},rootmode=40000,user_id=0,group_id=0,allow_other"
if libc.mount(b"memory", sys.argv[1].encode(), b"fuse", 0, options.encode()):
    raise OSError(ctypes.get_errno(), "mount")
while True:
    try:
        request = os.read(fd, (1 << 20) + 65536)
    except OSError as e:
        if e.errno == errno.ENODEV:
            break
        continue
    _, opcode, unique, node = struct.unpack_from("<IIQQ", request)
    if opcode in (2, 42):  # FORGET, BATCH_FORGET: nothing is ever forgotten
        continue
    error, data = 0, b""
    try:
        data = answer(opcode, node, request[40:])
    except OSError as e:
        error = -e.errno
    try:
        os.write(fd, struct.pack("<IiQ", 16 + len(data), error, unique) + data)
    except OSError:
        pass  # nobody waits for it any more

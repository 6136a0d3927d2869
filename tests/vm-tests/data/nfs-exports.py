#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""nfs-exports.py DIRECTORY: answer what the kernel's NFS server asks about exports.

The server asks user space who a client is, which directory a file handle belongs to,
and how that is exported: see Documentation/filesystems/nfs/rpc-cache.rst. Here every
client may do everything, and there is one directory, the root of all.
"""

import os
import select
import sys
import time

# `NFSEXP_INSECURE_PORT`, `NFSEXP_NOSUBTREECHECK` and `NFSEXP_FSID`.
FLAGS = 0x2 | 0x400 | 0x2000


def answer(cache, words, directory):
    expiry = str(int(time.time()) + 3600)
    if cache == "auth.unix.ip":
        return [*words, expiry, "all"]
    if cache == "nfsd.fh":
        return [*words, expiry, directory]
    # Neither is anybody else than the client says, and the file system's id is 0.
    return [*words, expiry, str(FLAGS), "65534", "65534", "0"]


def main(directory):
    fds = {}
    for cache in "auth.unix.ip", "nfsd.fh", "nfsd.export":
        fds[os.open(f"/proc/net/rpc/{cache}/channel", os.O_RDWR)] = cache
    print("ready", flush=True)
    while True:
        for fd in select.select(list(fds), [], [])[0]:
            for line in os.read(fd, 65536).decode().splitlines():
                reply = " ".join(answer(fds[fd], line.split(), directory))
                try:
                    os.write(fd, f"{reply}\n".encode())
                except OSError as error:
                    # An unknown kind of file handle, say: it does not exist then.
                    print(f"{fds[fd]}: {reply}: {error}", flush=True)


main(*sys.argv[1:])

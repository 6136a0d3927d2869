# SPDX-License-Identifier: GPL-2.0
"""Children of this process, for what must not be done in it: other credentials, namespaces, cgroups or another root.

in_child(nobody, os.open, "/dev/zloop-control", os.O_RDONLY)
"""

import os
import pickle
import signal
import traceback
from collections.abc import Callable

from zbd import syscalls

CAP_SYS_ADMIN = 1 << 21
ALL_CAPABILITIES = (1 << 41) - 1


class Child[T]:
    """A function that runs in a child. `become` is called there first: a function below, or a Cgroup's `add`."""

    def __init__[**P](
        self, become: Callable[[], object], function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> None:
        self._result, writer = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                try:
                    become()
                    result = pickle.dumps((function(*args, **kwargs), None))
                except BaseException as error:
                    traceback.print_exc()
                    result = pickle.dumps((None, error))
                while result:
                    result = result[os.write(writer, result) :]
            finally:
                os._exit(0)
        os.close(writer)

    @property
    def is_alive(self) -> bool:
        """It has not ended yet. It is still to be waited for."""
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

    def wait(self) -> T:
        """Wait for its end. Returns what the function returns, and fails as it does."""
        with open(self._result, "rb") as pipe:
            result = pipe.read()
        _, status = os.waitpid(self.pid, 0)
        if not result:
            raise AssertionError(f"a child process ended with {os.waitstatus_to_exitcode(status)}")
        value, failure = pickle.loads(result)
        if failure:
            raise failure
        return value  # type: ignore[no-any-return]

    def kill(self) -> None:
        """Kill it, and wait for its end."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self._result)


def in_child[**P, T](become: Callable[[], object], function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """In a child, call `become`, and then the function. Returns what that returns, and fails as it does."""
    return Child(become, function, *args, **kwargs).wait()


# What a child may become.


def nobody() -> None:
    """A user without rights."""
    os.setgroups([])
    os.setuid(65534)


def nobody_with_sys_admin() -> None:
    """A user who has CAP_SYS_ADMIN, but no other capability."""
    syscalls.prctl(syscalls.PR_SET_KEEPCAPS, 1)
    nobody()
    syscalls.capset(CAP_SYS_ADMIN)


def without_capabilities() -> None:
    """Root without a capability."""
    syscalls.capset(0)


def without_sys_admin() -> None:
    """Root with all capabilities but CAP_SYS_ADMIN."""
    syscalls.capset(ALL_CAPABILITIES & ~CAP_SYS_ADMIN)


def in_user_namespace(more: int = 0) -> None:
    """Root of a user namespace; `more` is for other namespaces (`os.CLONE_NEWNS`)."""
    os.unshare(os.CLONE_NEWUSER | more)
    for file, text in ("setgroups", "deny"), ("uid_map", "0 0 1"), ("gid_map", "0 0 1"):
        with open(f"/proc/self/{file}", "w", encoding="ascii") as setting:
            setting.write(text)


def in_namespaces() -> None:
    """The same, with mounts and processes of its own: process 1 there."""
    in_user_namespace(os.CLONE_NEWNS | os.CLONE_NEWPID)
    if pid := os.fork():
        os.waitpid(pid, 0)
        os._exit(0)


def with_own_mounts() -> None:
    """In a mount namespace of its own, of which others see no changes."""
    os.unshare(os.CLONE_NEWNS)
    syscalls.mount("none", "/", "", syscalls.MS_REC | syscalls.MS_PRIVATE)

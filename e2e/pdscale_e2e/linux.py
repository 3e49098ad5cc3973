"""The few system calls that Python's standard library lacks: namespaces, mounts, parent-death signal.

Called through the C library, so that neither an extension module nor the ``unshare`` and ``mount``
commands are needed, and so that the caller keeps control of signals, which ``unshare`` swallows.
"""

import ctypes
import os
import signal
from enum import IntFlag
from functools import cache
from pathlib import Path
from typing import Final

_PR_SET_PDEATHSIG: Final = 1


class Namespace(IntFlag):
    """What a process may have of its own (the numbers are the kernel's)."""

    MOUNT = 0x0002_0000
    USER = 0x1000_0000
    PID = 0x2000_0000
    NET = 0x4000_0000


class Mount(IntFlag):
    """How to mount (the numbers are the kernel's)."""

    NONE = 0
    BIND = 4096
    RECURSIVE = 16384
    PRIVATE = 1 << 18


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare(namespaces: Namespace) -> None:
    """Leave the named namespaces for new ones; PID takes effect for children only."""
    _checked(_libc().unshare(int(namespaces)), f"unshare {namespaces!r}")


def become_root_inside(uid: int, gid: int) -> None:
    """Map the user that we were outside to root of the new user namespace."""
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
    Path("/proc/self/gid_map").write_text(f"0 {gid} 1")


def mount(source: str, target: str, kind: str = "", flags: Mount = Mount.NONE) -> None:
    arguments = (source.encode(), target.encode(), kind.encode() or None)
    _checked(_libc().mount(*arguments, ctypes.c_ulong(int(flags)), None), f"mount on {target}")


def keep_mounts_private() -> None:
    """What is mounted from now on is seen by nobody outside this mount namespace."""
    mount("none", "/", flags=Mount.RECURSIVE | Mount.PRIVATE)


def die_with_parent(number: signal.Signals = signal.SIGKILL) -> None:
    """Survives ``exec``: the kernel sends the signal when our parent ends, however it ends."""
    _checked(_libc().prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0), "prctl")

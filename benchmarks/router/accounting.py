"""CPU time, waiting time and memory of a proxy's processes, from the kernel's own nanosecond counters."""

import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
_TICK: Final = 1 / os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Spent:
    """Seconds since each process began.

    ``user`` counts in ticks of 10 ms; ``waited`` is the time in which a thread could have run and had no CPU.
    """

    cpu: float = 0.0
    user: float = 0.0
    waited: float = 0.0

    def __sub__(self, earlier: "Spent") -> "Spent":
        return Spent(self.cpu - earlier.cpu, self.user - earlier.user, self.waited - earlier.waited)


def tree(pids: Iterable[int]) -> list[int]:
    """The processes and all that descend from them."""
    children: dict[int, list[int]] = {}
    for path in _PROC.glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has just ended
        children.setdefault(int(fields[1]), []).append(int(path.parent.name))
    found = list(pids)
    for pid in found:  # grows while it is read
        found.extend(children.get(pid, ()))
    return found


def spent(pids: Iterable[int]) -> Spent:
    total = Spent()
    for pid in pids:
        # The process's CPU clock: all threads, those that have ended too. The formula is the kernel's ABI
        # (clock_getcpuclockid(3)): the inverted pid, three bits of which 2 asks for the scheduler's clock.
        cpu = time.clock_gettime_ns((~pid << 3) | 2) * 1e-9
        user = int((_PROC / f"{pid}/stat").read_text().rpartition(")")[2].split()[11]) * _TICK
        total = Spent(total.cpu + cpu, total.user + user, total.waited + _waited(pid))
    return total


def resident_bytes(pids: Iterable[int]) -> int:
    return sum(int((_PROC / f"{pid}/statm").read_text().split()[1]) * _PAGE for pid in pids)


def _waited(pid: int) -> float:
    return sum(_delays(pid)) * 1e-9


def _delays(pid: int) -> Iterator[int]:
    for path in (_PROC / f"{pid}/task").glob("*/schedstat"):
        try:
            yield int(path.read_text().split()[1])
        except (OSError, IndexError):
            continue  # a thread that has just ended, or a kernel without these counters

"""Takes the cores back that idle engines burn.

NIXL polls for transfers in a thread that never sleeps: an engine without a request keeps one core busy. On
a GPU host nobody minds; here three engines share two cores with routers, control plane and tests, and all
that matters waits for threads that do nothing. Such a thread gets the lowest weight: others that want the
core have all but a fiftieth of it, and whoever waits for a transfer sleeps, so that those go on. Where Linux
shares cores between sessions first (autogroups), weights count only within an engine's session, so the
session gets a low one, too.

Not the class ``SCHED_IDLE``: beside a dozen busy threads it does not run for half a minute, and leases of KV
run out while the other side's reading waits to be noticed.

No option of vLLM or NIXL makes the thread sleep (vLLM 0.33.0, NIXL 1.5.1), so it is done from outside, when
the engine is up: the thread is the one that has used the processor for a while and never gave it up.
"""

import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
_OF_ENGINES: Final = "VLLM::"  # vLLM names its processes so
_LOWEST: Final = 19
_SESSION: Final = 10  # weight of an engine's session among all: a tenth of an ordinary one
_LOOK: Final = 0.3  # seconds
_RAN: Final = 2_000_000  # nanoseconds within a look; a thread that finds nothing to do sleeps before that


def calm_engines(*, below: int | None = None, within: float = 10.0) -> int:
    """Every engine below a process, or below this one; how many threads were calmed.

    The engines are up. Looks again until each one's spinning thread has been found, for on a busy machine it
    may not run at all for a while. An engine without one is no error: another version may sleep.
    """
    deadline, calmed = time.monotonic() + within, 0
    while True:
        restless = [pid for pid in _workers(below or os.getpid()) if not _is_calm(pid)]
        for pid in restless:
            _stand_back(pid)
        if not restless or time.monotonic() >= deadline:
            return calmed
        calmed += sum(map(_calm, spinning_threads(restless, look=_LOOK)))


def spinning_threads(pids: Iterable[int], *, look: float) -> list[int]:
    """Threads of these processes, but for their first, that ran within ``look`` seconds and never slept."""
    before = {thread: _ran_and_slept(*thread) for pid in pids for thread in _threads(pid)}
    time.sleep(look)
    found = []
    for (pid, thread), (ran, slept) in before.items():
        ran_now, slept_now = _ran_and_slept(pid, thread)
        if thread != pid and ran_now - ran >= _RAN and slept_now == slept:
            found.append(thread)
    return found


def _workers(root: int) -> list[int]:
    """Processes of engines below ``root`` that hold a model: the others of an engine have no transfers."""
    parents = dict(_parents())
    below = (pid for pid in parents if root in _ancestors(pid, parents))
    return [pid for pid in below if _read(_PROC / str(pid) / "comm").startswith(f"{_OF_ENGINES}Worker")]


def _parents() -> Iterator[tuple[int, int]]:
    for folder in _PROC.iterdir():
        if folder.name.isdigit() and (stat := _read(folder / "stat")):
            yield int(folder.name), int(stat.rpartition(")")[2].split()[1])


def _ancestors(pid: int, parents: dict[int, int]) -> Iterator[int]:
    while (pid := parents.get(pid, 0)) > 0:
        yield pid


def _threads(pid: int) -> list[tuple[int, int]]:
    try:
        return [(pid, int(task.name)) for task in (_PROC / str(pid) / "task").iterdir()]
    except OSError:
        return []  # it has ended


def _ran_and_slept(pid: int, thread: int) -> tuple[int, int]:
    """Nanoseconds on a processor, and how often the thread gave it up; zeros of one that has ended."""
    folder = _PROC / str(pid) / "task" / str(thread)
    ran, status = _read(folder / "schedstat"), _read(folder / "status")
    slept = next((line for line in status.splitlines() if line.startswith("voluntary_ctxt_switches")), ":0")
    return (int(ran.split()[0]) if ran else 0), int(slept.partition(":")[2])


def _is_calm(pid: int) -> bool:
    return any(_weight_of(thread) == _LOWEST for _, thread in _threads(pid))


def _weight_of(thread: int) -> int | None:
    """Linux has a nice value for each thread, not for each process."""
    try:
        return os.getpriority(os.PRIO_PROCESS, thread)
    except ProcessLookupError:
        return None


def _stand_back(pid: int) -> None:
    try:
        (_PROC / str(pid) / "autogroup").write_text(str(_SESSION))
    except OSError:
        pass  # this kernel has none, or it has ended, or asks for patience between two changes


def _calm(thread: int) -> bool:
    try:
        os.setpriority(os.PRIO_PROCESS, thread, _LOWEST)
    except ProcessLookupError:
        return False
    return True


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""  # whoever it was has ended

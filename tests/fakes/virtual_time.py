"""An event loop whose clock jumps to the next timer as soon as no socket has anything to say.

Servers and clients that live in it speak over real sockets, and what they wait for takes no time: a loaded
machine is as exact as an idle one. Loopback delivers within a system call, in rare cases a moment later, so a
jump is made only after a short silence, a long one after a longer one.
"""

import asyncio
import selectors
from typing import Any, Final

_SILENCE: Final = 0.0005
_LONG: Final = 1.0  # a jump over patience of clients, which hardly ever is meant
_LONG_SILENCE: Final = 0.2


class _Selector(selectors.DefaultSelector):
    """Never waits for a timer: tells by how much the clock may jump."""

    skipped = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        found = super().select(0)
        if found or timeout is None or timeout <= 0:
            return found or (super().select(None) if timeout is None else found)
        found = super().select(min(timeout, _LONG_SILENCE if timeout > _LONG else _SILENCE))
        if not found:
            self.skipped += timeout
        return found


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """``time()`` is the sum of all jumps; what is computed takes no time."""

    def __init__(self) -> None:
        self._jumps = _Selector()
        super().__init__(self._jumps)

    def time(self) -> float:
        return self._jumps.skipped


def run(work: Any) -> Any:
    """As ``asyncio.run`` does, in virtual time."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(work)

"""How much of the loop's round goes to requests before the tokens of running streams have their turn again.

Bytes of a stream are relayed inside the read that brought them; to begin a request is several times the work.
A loop that has 256 of those to read would begin them all before it reads another token, and every stream
would stand still meanwhile. So a round of the loop begins a few of them, and the others wait for the next
rounds, in the order in which they came. What is begun a few at a time is mostly answered so, too.

A round is told by the clock: uvloop's stands still while it works off what it has read. With asyncio's own
loop, whose clock does not, a request mostly finds a later time than the last one, and none waits.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

# 16 beginnings of 30 to 60 us are a millisecond at most; a round of the loop more costs 2 us.
AT_ONCE: Final = 16


class Turns:
    """Counts what each of the loop's rounds has begun."""

    __slots__ = ("_at_once", "_clock", "_later", "_left", "_loop", "_now")

    def __init__(self, clock: Callable[[], float], at_once: int = AT_ONCE) -> None:
        self._loop = asyncio.get_running_loop()
        self._clock, self._now = clock, clock()
        self._at_once = self._left = at_once
        self._later: deque[Callable[[], None]] = deque()

    def take(self, begin: Callable[[], None]) -> None:
        """Run it now if this round has any left, else in one of the next."""
        now = self._clock()
        if now != self._now and not self._later:
            self._now, self._left = now, self._at_once
        if self._left:
            self._left -= 1
            begin()
            return
        if not self._later:
            self._loop.call_soon(self._next_round)
        self._later.append(begin)

    def _next_round(self) -> None:
        self._now, self._left = self._clock(), self._at_once
        later = self._later
        try:
            while later and self._left:
                self._left -= 1
                later.popleft()()
        finally:
            if later:
                self._loop.call_soon(self._next_round)

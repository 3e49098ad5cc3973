"""How much of the loop's round goes to requests before the tokens of running streams have their turn again.

Bytes of a stream are relayed inside the read that brought them; to begin a request, or to begin its answer,
is forty times the work. A loop that has 256 of those to read would see to them all before it reads another
token, and every stream would stand still for 10 ms and more. So a round of the loop takes a few such steps,
and the others wait for the next rounds in the order in which they came; requests that are under way before
new ones, so that a burst does not hold up the first tokens of those who came first in it.

A round is told by the clock: uvloop's stands still while it works off what it has read. With asyncio's own
loop, whose clock does not, a request mostly finds a later time than the last one, and none waits.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

# 8 steps of 30 to 100 us beside the tokens that are there to be read. With 16, of 256 streams that began
# together some of the last tokens waited 10 to 28 ms as the next ones began, in half the runs; with 8 and 4
# in none that had its core. 4 cost short requests 10 to 25 % more CPU time, 8 some 5 %: a round is not free.
AT_ONCE: Final = 8

Step = Callable[[], None]


class Turns:
    """Counts what each of the loop's rounds has done."""

    __slots__ = ("_at_once", "_clock", "_due", "_going", "_left", "_loop", "_new", "_now")

    def __init__(self, clock: Callable[[], float], at_once: int = AT_ONCE) -> None:
        self._loop = asyncio.get_running_loop()
        self._clock, self._now = clock, clock()
        self._at_once = self._left = at_once
        self._going: deque[Step] = deque()
        self._new: deque[Step] = deque()
        self._due = False  # a round for those who wait

    def begin(self, step: Step) -> None:
        """Run it now if this round has any left, else in one of the next."""
        if self._taken():
            step()
        else:
            self._wait(self._new, step)

    def go_on(self, step: Step) -> None:
        """The same, before whatever has not begun yet."""
        if self._taken():
            step()
        else:
            self._wait(self._going, step)

    def _taken(self) -> bool:
        now = self._clock()
        if now != self._now and not self._going and not self._new:
            self._now, self._left = now, self._at_once
        if not self._left:
            return False
        self._left -= 1
        return True

    def _wait(self, queue: deque[Step], step: Step) -> None:
        queue.append(step)
        if not self._due:
            self._due = True
            self._loop.call_soon(self._next_round)

    def _next_round(self) -> None:
        self._now, self._left = self._clock(), self._at_once
        going, new = self._going, self._new
        try:
            while self._left and (going or new):
                self._left -= 1
                (going or new).popleft()()
        finally:
            self._due = bool(going or new)
            if self._due:
                self._loop.call_soon(self._next_round)

"""What happens next: the virtual clock and the events that move it.

Events at the same instant run by priority, then in the order in which they were scheduled. That order is part
of a run's result, so it comes from nothing but the run itself: no addresses, no hashes.

An event is a bound method and its argument. Whoever no longer wants one lets it come and looks at the
argument, mostly a version number: taking an entry out of a heap costs more than popping it in vain.
"""

import heapq
import math
from collections.abc import Callable
from typing import Any, Final, TypeVar

from pdscale.model.units import Seconds

Argument = TypeVar("Argument")

# Engines first: what they finish at an instant is free for those who come at that instant.
ENGINE: Final = 0
NETWORK: Final = 1
CLIENT: Final = 2
CONTROL: Final = 3

_PRIORITY_SHIFT: Final = 56  # below it the sequence number, so that one comparison of integers decides both


class Agenda:
    """A heap of (instant, priority and number, action, argument)."""

    __slots__ = ("_heap", "_number", "now")

    def __init__(self) -> None:
        self.now: Seconds = 0.0
        self._heap: list[tuple[Seconds, int, Callable[[Any], None], Any]] = []
        self._number = 0

    def at(
        self, when: Seconds, priority: int, action: Callable[[Argument], None], argument: Argument
    ) -> None:
        """Call ``action(argument)`` at ``when``, which must not be past."""
        self._number += 1
        heapq.heappush(self._heap, (when, priority << _PRIORITY_SHIFT | self._number, action, argument))

    def run_until(self, when: Seconds) -> None:
        """Everything that is due at or before ``when``, in order; then the clock stands at ``when``."""
        heap, pop = self._heap, heapq.heappop
        while heap and heap[0][0] <= when:
            self.now, _, action, argument = pop(heap)
            action(argument)
        if when != math.inf:
            self.now = when

    def step(self) -> None:
        """The next event; there must be one."""
        self.now, _, action, argument = heapq.heappop(self._heap)
        action(argument)

    def __len__(self) -> int:
        return len(self._heap)

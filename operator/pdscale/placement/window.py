"""Mean of what was seen within the last seconds, in bounded memory.

Samples are gathered in ten slots, so the window is exact to a tenth of its length. A gateway sees
thousands of tokens a second; keeping each one for ten seconds would cost more than routing it.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from pdscale.model.units import Seconds

_SLOTS: Final = 10


@dataclass(slots=True)
class SlidingMean:
    """Mean over the last ``seconds``; ``None`` while nothing was seen."""

    seconds: Seconds = 10.0
    _slots: deque[tuple[int, float, float]] = field(default_factory=deque)  # index, sum, weight
    _known: tuple[int, float | None] | None = field(default=None, compare=False)  # index asked for, answer

    def __post_init__(self) -> None:
        if not self.seconds > 0:
            raise ValueError(f"window must be above 0s, got {self.seconds}s")

    def add(self, value: float, *, now: Seconds, weight: float = 1.0) -> None:
        index = self._index(now)
        self._known = None
        if self._slots and self._slots[-1][0] == index:
            _, total, count = self._slots.pop()
            self._slots.append((index, total + value * weight, count + weight))
        else:
            self._slots.append((index, value * weight, weight))
            self._forget(index)

    def mean(self, now: Seconds) -> float | None:
        """The same throughout a slot, so it is added up once and not for every request that is placed."""
        index = int(now * _SLOTS // self.seconds)
        known = self._known
        if known is not None and known[0] == index:
            return known[1]
        self._forget(index)
        total = weight = 0.0
        for _, value, count in self._slots:
            total += value
            weight += count
        mean = total / weight if weight > 0 else None
        self._known = (index, mean)
        return mean

    def _index(self, now: Seconds) -> int:
        return int(now * _SLOTS // self.seconds)

    def _forget(self, index: int) -> None:
        while self._slots and self._slots[0][0] <= index - _SLOTS:
            self._slots.popleft()

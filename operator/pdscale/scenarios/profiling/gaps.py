"""From arrival times of tokens to the time of one decode step.

Only the window counts in which all streams run: from the last stream's first token, so that no prefill is
in it, to the first stream's last one. The median gap inside it is a step, whatever a few late wake-ups of
this process add to single gaps. It is a step of the streams' mean context over that window.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from pdscale.model.quantiles import quantile
from pdscale.model.units import Seconds

FEWEST: Final = 4
"""Gaps of a stream on average, below which a window says nothing."""


@dataclass(slots=True)
class Window:
    """Arrivals of all streams, until each has ``steps`` gaps after the last one has begun."""

    batch: int
    steps: int
    arrivals: list[list[Seconds]] = field(init=False)
    _began: int = 0
    _full: int = 0
    _seen: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.arrivals = [[] for _ in range(self.batch)]
        self._seen = [0] * self.batch

    def note(self, stream: int, at: Seconds) -> bool:
        """One event; whether enough was seen of all."""
        self._began += not self.arrivals[stream]
        self.arrivals[stream].append(at)
        if self._began == self.batch:
            self._seen[stream] += 1
            self._full += self._seen[stream] == self.steps + 1
        return self._full == self.batch


@dataclass(frozen=True, slots=True)
class Steps:
    """``seconds`` between two events of a stream; ``events`` that all streams had by the window's middle."""

    seconds: Seconds
    events: int


def steps_of(arrivals: Sequence[Sequence[Seconds]]) -> Steps | None:
    """Nothing if some stream never began, or the streams ran together for too short a time."""
    if not arrivals or not all(arrivals):
        return None
    start, end = max(a[0] for a in arrivals), min(a[-1] for a in arrivals)
    gaps = sorted(
        later - sooner
        for stream in arrivals
        for sooner, later in pairwise(stream)
        if sooner >= start and later <= end
    )
    if len(gaps) < FEWEST * len(arrivals):
        return None
    middle = (start + end) / 2
    return Steps(quantile(gaps, 0.5), sum(bisect_right(a, middle) for a in arrivals))

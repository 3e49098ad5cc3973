"""Instants that a range query asks for, and the pages that they are asked in.

All lie on multiples of the step, so that one tick's grid fits the next and what was learnt once can be kept.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from pdscale.model.units import Seconds

# Two years of minutes: more is a typing error, and would be hundreds of pages.
MOST_SAMPLES: Final = 1_051_200

# Prometheus refuses more than 11 000 points a series. At 3000, all measures of a page are some 1.5 MB of text
# and 10 MB while they are parsed, whatever the length of the history: that is what keeps memory flat.
PAGE: Final = 3_000


@dataclass(frozen=True, slots=True)
class Grid:
    """Instants ``start + i * step``; ``start`` is a multiple of ``step``."""

    start: Seconds
    step: Seconds
    samples: int

    @classmethod
    def ending(cls, now: Seconds, *, window: Seconds, step: Seconds) -> "Grid":
        """The instants of the last ``window`` seconds, the newest not after ``now``."""
        if step < 1 or not float(step).is_integer():
            raise ValueError(f"step must be a whole number of seconds, at least 1, got {step}s")
        samples = math.floor(window / step)
        if not 1 <= samples <= MOST_SAMPLES:
            raise ValueError(f"window must hold 1 to {MOST_SAMPLES} steps of {step}s, got {window}s")
        last = math.floor(now / step)
        return cls(float((last - samples + 1) * step), float(step), samples)

    @property
    def end(self) -> Seconds:
        return self.start + (self.samples - 1) * self.step

    @property
    def first(self) -> int:
        """Number of the first instant, counted in steps from the epoch."""
        return round(self.start / self.step)

    def since(self, number: int) -> "Grid | None":
        """The part from the instant of that number on; ``None`` if nothing of it is left."""
        skipped = max(0, number - self.first)
        if skipped >= self.samples:
            return None
        return Grid(self.start + skipped * self.step, self.step, self.samples - skipped)

    def pages(self, size: int = PAGE) -> Iterator["Grid"]:
        """Consecutive parts of at most ``size`` instants, oldest first."""
        for skipped in range(0, self.samples, size):
            yield Grid(self.start + skipped * self.step, self.step, min(size, self.samples - skipped))

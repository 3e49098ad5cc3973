"""How far the profile is off, learned from what first tokens really took: one factor per kind of placement.

Profiles hold GPU time measured elsewhere; served requests take some tens of percent more, and a profile
may simply be wrong. Placement compares two predictions, so an error that both share hardly matters, and one
that only one side has misleads every decision. Ours; the idea of correction factors is Dynamo's planner's.

    x = log((seen + o) / (predicted + o))       o = 50 ms
    log f += w * clamp(x - log f, -log 2, log 2)

- In logarithms, because a factor of 2 and one of 1/2 are equally far from right.
- ``o``: a request costs some ten milliseconds beside the GPU's work. Of a round of 7 ms that would be a
  factor of 2.4, which says nothing about a round of a second.
- The clamp bounds any one observation, be it a replica that hung for a minute, to 2^w = 3.5 %.
- A factor that kept a side from being chosen would never be contradicted. It therefore fades to 1, by half
  within a minute without observations.
"""

import math
from dataclasses import dataclass, field
from typing import Final

from pdscale.model.units import Seconds
from pdscale.placement.policy import Kind

_BESIDE_THE_GPU: Final[Seconds] = 0.05
_OUTLIER: Final = math.log(2.0)


@dataclass(slots=True)
class _Learned:
    log_factor: float = 0.0
    at: Seconds = 0.0


@dataclass(slots=True)
class Correction:
    """``weight`` 0.05: half of a new factor is learned in 14 rounds. ``most`` 4: beyond it the profile is
    that of another model, and steering by it would be guessing."""

    weight: float = 0.05
    most: float = 4.0
    half_life: Seconds = 60.0
    _learned: dict[Kind, _Learned] = field(default_factory=lambda: {kind: _Learned() for kind in Kind})

    def __post_init__(self) -> None:
        if not 0 < self.weight <= 1:
            raise ValueError(f"correction.weight must be above 0 and at most 1, got {self.weight}")
        if not self.most >= 1:
            raise ValueError(f"correction.most must be at least 1, got {self.most}")
        if not self.half_life > 0:
            raise ValueError(f"correction.half_life must be above 0s, got {self.half_life}s")

    def observe(self, kind: Kind, *, predicted: Seconds, seen: Seconds, now: Seconds) -> None:
        """A first token was ``predicted`` by the profile alone and came after ``seen``."""
        if not (predicted > 0 and seen > 0 and math.isfinite(predicted + seen)):
            return
        known = self._faded(kind, now)
        error = math.log((seen + _BESIDE_THE_GPU) / (predicted + _BESIDE_THE_GPU)) - known
        bound = math.log(self.most)
        moved = known + self.weight * min(max(error, -_OUTLIER), _OUTLIER)
        self._learned[kind] = _Learned(min(max(moved, -bound), bound), now)

    def factor(self, kind: Kind, now: Seconds) -> float:
        """Multiply a prediction by this; 1 while nothing is known."""
        return math.exp(self._faded(kind, now))

    def _faded(self, kind: Kind, now: Seconds) -> float:
        learned = self._learned[kind]
        return learned.log_factor * math.pow(0.5, max(0.0, now - learned.at) / self.half_life)

"""What several decode replicas carry together: more than so many times one.

Each of them needs room for its own share of a crowd, and that share is smaller the more of them even it out
(`decode_capacity`). What a whole number of replicas carries is computed; between two of them, and below one,
it is taken in proportion, so that a demand is a fraction that grows with the load and is exact where one more
is needed.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from pdscale.model.slo import SLO
from pdscale.model.workload import Workload
from pdscale.perf.capacity import Capacity, decode_capacity
from pdscale.perf.model import PerformanceModel

ALIKE: Final = 64  # so many replicas even crowds out as well as any more do: 1/sqrt(64) of one's own


@dataclass(frozen=True, slots=True)
class DecodePool:
    """Replicas among which new streams of one workload are shared out evenly."""

    workload: Workload
    profile: PerformanceModel
    slo: SLO
    _known: dict[int, Capacity] = field(default_factory=dict, compare=False)

    def each(self, replicas: float) -> Capacity:
        """What one of so many carries; of a fraction, what one of the next whole number does."""
        count = ALIKE if replicas >= ALIKE else max(1, math.ceil(replicas))
        if count not in self._known:
            self._known[count] = decode_capacity(self.workload, self.profile, self.slo, replicas=count)
        return self._known[count]

    def rate(self, replicas: float) -> float:
        """Rounds per second that so many carry together."""
        return _between(lambda n: n * self.each(n).rate, replicas)

    def replicas(self, rate: float) -> float:
        """The fewest that carry so many rounds per second; ``inf`` where an idle one is too slow."""
        return _fewest(lambda n: n * self.each(n).rate, rate)

    def hosting(self, streams: float) -> float:
        """The fewest that have room for so many streams at a time in the mean."""
        return _fewest(lambda n: n * self.each(n).streams, streams)


def _between(total: Callable[[int], float], replicas: float) -> float:
    whole = math.floor(replicas)
    part = replicas - whole
    below = total(whole) if whole else 0.0
    return below + part * (total(whole + 1) - below) if part > 0 else below


def _fewest(total: Callable[[int], float], wanted: float) -> float:
    """The inverse of ``_between``."""
    if wanted <= 0:
        return 0.0
    one = total(1)
    if one <= 0 or math.isinf(wanted / one):
        return math.inf
    low, high = 0, max(1, math.ceil(wanted / one))  # together never less than as many alone
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if total(middle) >= wanted else (middle, high)
    below = total(low) if low else 0.0
    return min(high, low + (wanted - below) / (total(high) - below))

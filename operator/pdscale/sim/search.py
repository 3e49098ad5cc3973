"""The largest load that still attains a target: goodput as the papers define it.

Attainment falls with load but for noise. A bisection therefore finds *a* crossing, and on a curve that is
flat around the target a loose one; whoever reports it runs fresh seeds at the load that was found.
"""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Largest:
    """``load`` attains the target by ``attainment``; ``at_most`` is the least load tried that does not."""

    load: float
    attainment: float
    at_most: float
    runs: int


def largest_load(
    attainment_at: Callable[[float], float],
    *,
    target: float,
    low: float,
    high: float,
    precision: float = 0.02,
) -> Largest | None:
    """Bisect between ``low`` and ``high`` to a relative ``precision``; ``None`` if ``low`` misses the target.

    ``high`` is doubled, three times at most, while it attains.
    """
    if not 0 < low < high:
        raise ValueError(f"load must be searched between 0 < low < high, got {low} and {high}")
    if not precision > 0:
        raise ValueError(f"precision must be above 0, got {precision}")
    best, runs = attainment_at(low), 1
    if best < target:
        return None
    for _ in range(4):
        above = attainment_at(high)
        runs += 1
        if above < target:
            break
        low, best, high = high, above, high * 2
    else:
        return Largest(low, best, high, runs)
    while high - low > precision * low:
        middle = (low + high) / 2
        found = attainment_at(middle)
        runs += 1
        if found >= target:
            low, best = middle, found
        else:
            high = middle
    return Largest(low, best, high, runs)

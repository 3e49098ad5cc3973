"""What orders are worth where one engine is nearly busy, and why legs age at 0.03: nearly all that shortest
first gains, at a fraction of its longest wait.

One engine without preemption, Poisson arrivals, lognormal sizes (median 0.15 s, 99th percentile 2.2 s).
"""

import math
import random

import pytest

from pdscale.placement.fewest_late import FewestLate
from pdscale.placement.ordering import FCFS, PrefillLeg, Queue, ShortestRemaining, Sorted

MEDIAN, SPREAD, LIMIT = 0.15, 1.15, 2.0
MEAN = MEDIAN * math.exp(SPREAD**2 / 2)


def served(queue: Queue, *, load: float, legs: int = 6000, seed: int = 0) -> tuple[float, float]:
    """Share of the legs in time, and the longest time that one took."""
    rng, arriving, now = random.Random(seed), [], 0.0
    for _ in range(legs):
        now += rng.expovariate(load / MEAN)
        arriving.append(PrefillLeg(now, min(6.0, MEDIAN * math.exp(SPREAD * rng.gauss(0, 1))), now + LIMIT))
    now, took, at = 0.0, list[float](), 0
    while at < legs or queue:
        if not queue:
            now = max(now, arriving[at].arrived)
        while at < legs and arriving[at].arrived <= now:
            queue.push(arriving[at])
            at += 1
        leg = queue.pop(now)
        now += leg.seconds
        took.append(now - leg.arrived)
    return sum(t <= LIMIT for t in took) / legs, max(took)


@pytest.mark.parametrize("load", [0.8, 0.95])
def test_ageing_keeps_what_shortest_first_gains(load: float) -> None:
    fcfs, _ = served(Sorted(FCFS()), load=load)
    ours, _ = served(Sorted(ShortestRemaining()), load=load)
    unaged, _ = served(Sorted(ShortestRemaining(ageing=1e-9)), load=load)
    assert unaged > fcfs + 0.1
    assert ours - fcfs > 0.9 * (unaged - fcfs)


def test_ageing_bounds_the_longest_wait() -> None:
    _, fcfs = served(Sorted(FCFS()), load=0.95)
    _, ours = served(Sorted(ShortestRemaining()), load=0.95)
    _, unaged = served(Sorted(ShortestRemaining(ageing=1e-9)), load=0.95)
    assert fcfs < ours < unaged


@pytest.mark.parametrize("load", [0.8, 0.95])
def test_fewest_late_has_fewer_late_than_shortest_first(load: float) -> None:
    shortest, longest = served(Sorted(ShortestRemaining()), load=load)
    ours, ours_longest = served(FewestLate(), load=load)
    assert ours > shortest + 0.02
    assert ours_longest < 1.1 * longest

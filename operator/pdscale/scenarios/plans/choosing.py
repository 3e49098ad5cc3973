"""Fleets of a pair of kinds by enumeration: the cheapest that carries enough, and what is left out for it.

Whether a window is carried depends on whole replicas only, so a table of rounds by (prefill, decode)
replicas needed, summed up in both directions, says of every fleet within the GPUs what it carries: 64 GPUs
have 2016 fleets. What `cheapest` makes of the peak names the constraint where none of them carries enough.
"""

import math
from dataclasses import dataclass
from itertools import accumulate

from pdscale.model.pools import Bounds, Role, Targets
from pdscale.scaling.demand import NOTHING
from pdscale.scaling.ratio import Infeasible, cheapest
from pdscale.scenarios.plans.asked import MOST_GPUS, Asked
from pdscale.scenarios.plans.needs import Binding, Pair

Key = tuple[str, str, int, int]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A fleet of a pair. ``carried`` is the share of rounds in windows that it carries, by the formulas."""

    pair: Pair
    fleet: Targets
    carried: float
    binding: Binding

    @property
    def gpus(self) -> int:
        return self.pair.gpus.held_by(self.fleet)

    @property
    def cost(self) -> float:
        return self.pair.cost(self.fleet)

    @property
    def key(self) -> Key:
        return (self.pair.prefill.name, self.pair.decode.name, self.fleet.prefill, self.fleet.decode)


@dataclass(frozen=True, slots=True)
class Choice:
    """What a pair offers. ``best`` carries enough at the lowest cost, ``needed``; or is the best there is
    where ``constraint`` says why none does, and ``needed`` the cost of what would. ``less`` carries most at a
    lower cost than ``best``; ``None`` if nothing does."""

    best: Candidate
    needed: float
    less: Candidate | None = None
    constraint: str | None = None

    @property
    def rank(self) -> tuple[bool, float, float, bool, float, Key]:
        """What is feasible first, then by cost; then one profile before two, as a ServingDeployment has
        one."""
        best, fails = self.best, self.constraint is not None
        return (fails, self.needed, -best.carried, best.pair.mixed, best.binding.load, best.key)


def candidate(pair: Pair, fleet: Targets, asked: Asked) -> Candidate:
    return Candidate(pair, fleet, pair.carried(fleet), pair.binding(fleet, asked.settings.attainment))


def choose(pair: Pair, asked: Asked) -> Choice | None:
    """``None`` where the GPUs do not hold the smallest fleet."""
    table = _carried(pair, asked)
    if not table:
        return None
    target = asked.settings.attainment
    enough = [t for t, share in table.items() if share >= target - NOTHING]
    if not enough:
        return _nearest(pair, asked, table)
    best = candidate(pair, min(enough, key=lambda t: (pair.cost(t), -table[t], t.prefill)), asked)
    fewer = {t: share for t, share in table.items() if pair.cost(t) < best.cost and share > 0}
    less = candidate(pair, _most(fewer, pair), asked) if fewer else None
    return Choice(best, best.cost, less)


def _nearest(pair: Pair, asked: Asked, table: dict[Targets, float]) -> Choice:
    """What carries the largest part of the peak in balance, or the most windows where no fleet carries any of
    the peak. The planner says what stands in the way: a pair that carried it would stand in the table."""
    demand = pair.peak(asked.settings.attainment)
    most = {r: max(asked.gpus, _whole(demand.of(r))) for r in Role}
    found = cheapest(
        demand,
        prefill=Bounds(asked.min_prefill, most[Role.PREFILL]),
        decode=Bounds(asked.min_decode, most[Role.DECODE]),
        gpus=pair.gpus,
        budget=asked.gpus,
    )
    assert isinstance(found, Infeasible)
    best = found.best if found.share > 0 else _most(table, pair)
    whole = Targets(
        max(asked.min_prefill, _whole(demand.prefill)), max(asked.min_decode, _whole(demand.decode))
    )
    needed = pair.cost(whole) if found.share > 0 else math.inf
    why = found.constraint.replace("gpuBudget", "--gpus")
    return Choice(candidate(pair, best, asked), needed, constraint=why)


def _most(table: dict[Targets, float], pair: Pair) -> Targets:
    return max(table, key=lambda t: (table[t], -pair.cost(t), -t.prefill))


def _carried(pair: Pair, asked: Asked) -> dict[Targets, float]:
    """Every fleet from the smallest to the GPUs' end, with the share of rounds it carries."""
    gpus = pair.gpus
    most_p = (asked.gpus - asked.min_decode * gpus.decode) // gpus.prefill
    most_d = (asked.gpus - asked.min_prefill * gpus.prefill) // gpus.decode
    if most_p < asked.min_prefill or most_d < asked.min_decode:
        return {}
    sums = [[0.0] * (most_d + 1) for _ in range(most_p + 1)]
    for window, weight in enumerate(pair.weights):
        p, d = (_whole(pair.needs[window].of(r)) for r in Role)
        if p <= most_p and d <= most_d:
            sums[p][d] += weight
    for p in range(most_p + 1):
        row = list(accumulate(sums[p]))
        sums[p] = [a + b for a, b in zip(row, sums[p - 1], strict=True)] if p else row
    return {
        Targets(p, d): sums[p][d]
        for p in range(asked.min_prefill, most_p + 1)
        for d in range(asked.min_decode, (asked.gpus - p * gpus.prefill) // gpus.decode + 1)
    }


def _whole(replicas: float) -> int:
    """Whole replicas; more than anybody may ask for where no number is enough."""
    return math.ceil(replicas - NOTHING) if math.isfinite(replicas) else MOST_GPUS + 1

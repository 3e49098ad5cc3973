"""The cheapest integer P and D for a demand, or what stands in the way.

While a role's need does not depend on the other's count, the cheapest pair is the pair of ceilings. Under a
budget that is too small, the pair that carries the largest share of the demand is the best that can be done:
DOPD's balanced ratio, found by enumeration so that integers and unequal GPU counts are exact.
"""

import math
from dataclasses import dataclass

from pdscale.model.pools import Bounds, GpusPerReplica, Role, Targets
from pdscale.scaling.demand import Demand


@dataclass(frozen=True, slots=True)
class Fits:
    """Cheapest targets that carry the whole demand."""

    targets: Targets


@dataclass(frozen=True, slots=True)
class Infeasible:
    """Nothing carries the whole demand. ``best`` carries ``share`` of it; ``constraint`` is what bites."""

    best: Targets
    share: float
    constraint: str


def cheapest(
    demand: Demand, *, prefill: Bounds, decode: Bounds, gpus: GpusPerReplica, budget: int
) -> Fits | Infeasible:
    """Smallest targets within bounds and budget that carry the demand, or the best below it."""
    for role in Role:
        if math.isinf(demand.of(role)):
            limit = demand.capacity(role).limit
            best = _best(demand, prefill=prefill, decode=decode, gpus=gpus, budget=budget)
            return Infeasible(best, 0.0, f"one {role} replica alone misses its {limit} limit")
    wanted = Targets(_ceil(demand.prefill), _ceil(demand.decode))
    inside = Targets(prefill.clamp(wanted.prefill), decode.clamp(wanted.decode))
    enough = all(inside.of(role) >= wanted.of(role) for role in Role)
    if enough and gpus.held_by(inside) <= budget:
        return Fits(inside)
    best = _best(demand, prefill=prefill, decode=decode, gpus=gpus, budget=budget)
    return Infeasible(best, _share(best, demand), _constraint(wanted, inside, gpus, budget))


def _ceil(replicas: float) -> int:
    return math.ceil(replicas - 1e-9)


def _share(targets: Targets, demand: Demand) -> float:
    """Part of the demand that both stages carry, at most one."""
    shares = (targets.of(r) / demand.of(r) for r in Role if demand.of(r) > 0)
    return min(1.0, *shares, 1.0)


def _best(demand: Demand, *, prefill: Bounds, decode: Bounds, gpus: GpusPerReplica, budget: int) -> Targets:
    """Largest carried share, then fewest GPUs; for each P the largest D that still fits."""

    def candidates() -> list[Targets]:
        found = []
        for p in range(prefill.least, prefill.most + 1):
            room = (budget - p * gpus.prefill) // gpus.decode
            if room >= decode.least:
                found.append(Targets(p, min(decode.most, room, _needed(demand.decode, decode))))
        return found

    return max(candidates(), key=lambda t: (_share(t, demand), -gpus.held_by(t), t.decode))


def _needed(replicas: float, bounds: Bounds) -> int:
    return bounds.most if math.isinf(replicas) else max(bounds.least, _ceil(replicas))


def _constraint(wanted: Targets, inside: Targets, gpus: GpusPerReplica, budget: int) -> str:
    for role in Role:
        if inside.of(role) < wanted.of(role):
            return f"{role}.maxReplicas {inside.of(role)}, {wanted.of(role)} needed"
    return f"gpuBudget {budget}, {gpus.held_by(inside)} needed"

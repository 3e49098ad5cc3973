"""The cheapest integer P and D for a demand, or what stands in the way.

While a role's need does not depend on the other's count, the cheapest pair is the pair of ceilings. Under a
budget that is too small, the pair that carries the largest share of the demand is the best that can be done:
DOPD's balanced ratio, found by enumeration so that integers and unequal GPU counts are exact. For each P only
one D is worth looking at, so 200 replicas of each role cost 200 looks.
"""

import math
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass

from pdscale.model.pools import Bounds, GpusPerReplica, Role, Targets
from pdscale.scaling.demand import NOTHING, Demand


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


@dataclass(frozen=True, slots=True)
class Offer:
    """A pair that no other beats: what it holds, and the share of the demand that it carries (at most 1)."""

    targets: Targets
    gpus: int
    share: float


def cheapest(
    demand: Demand,
    *,
    prefill: Bounds,
    decode: Bounds,
    gpus: GpusPerReplica,
    budget: int,
    available: int | None = None,
) -> Fits | Infeasible:
    """Smallest targets within bounds and GPUs that carry the demand, or the best below it.

    ``available`` GPUs exist, where that is known; fewer than the budget bind in its place.
    """
    room = budget if available is None else min(budget, available)
    for role in Role:
        if math.isinf(demand.of(role)):
            limit = demand.capacity(role).limit
            best = _best(demand, prefill=prefill, decode=decode, gpus=gpus, budget=room)
            return Infeasible(best, 0.0, f"one {role} replica alone misses its {limit} limit")
    wanted = Targets(_ceil(demand.prefill), _ceil(demand.decode))
    inside = Targets(prefill.clamp(wanted.prefill), decode.clamp(wanted.decode))
    enough = all(inside.of(role) >= wanted.of(role) for role in Role)
    if enough and gpus.held_by(inside) <= room:
        return Fits(inside)
    best = _best(demand, prefill=prefill, decode=decode, gpus=gpus, budget=room)
    named = f"gpuBudget {budget}" if room == budget else f"{room} GPUs are there"
    return Infeasible(best, _share(best, demand), _constraint(wanted, inside, gpus, named))


def frontier(
    demand: Demand, *, prefill: Bounds, decode: Bounds, gpus: GpusPerReplica, budget: int
) -> tuple[Offer, ...]:
    """Every pair within bounds and budget that no other beats in GPUs and in share, cheapest first.

    Between the least fleet and one that carries everything: what one GPU more would buy.
    """
    offers: list[Offer] = []
    for targets in sorted(
        _worthwhile(demand, prefill=prefill, decode=decode, gpus=gpus, budget=budget),
        key=lambda t: (gpus.held_by(t), -_share(t, demand), t.prefill),
    ):
        offer = Offer(targets, gpus.held_by(targets), _share(targets, demand))
        if not offers or offer.share > offers[-1].share:
            offers.append(offer)
    return tuple(offers)


def _worthwhile(
    demand: Demand, *, prefill: Bounds, decode: Bounds, gpus: GpusPerReplica, budget: int
) -> Iterator[Targets]:
    """For each count of a role, the fewest of the other that do not waste it, or as many as fit beside it."""
    for p in range(prefill.least, prefill.most + 1):
        room = (budget - p * gpus.prefill) // gpus.decode
        d = min(decode.clamp(_matching(demand, Role.PREFILL, p)), room)
        if d >= decode.least:
            yield Targets(p, d)
    for d in range(decode.least, decode.most + 1):
        room = (budget - d * gpus.decode) // gpus.prefill
        p = min(prefill.clamp(_matching(demand, Role.DECODE, d)), room)
        if p >= prefill.least:
            yield Targets(p, d)


def _matching(demand: Demand, role: Role, replicas: int) -> int:
    """Replicas of the other role that carry what so many of this one carry, and never more than the whole
    demand."""
    other = Role.DECODE if role is Role.PREFILL else Role.PREFILL
    if math.isinf(demand.prefill) or math.isinf(demand.decode):
        return 0
    whole = _ceil(demand.of(other))
    if demand.of(role) <= NOTHING:
        return whole
    enough = demand.carried(role, replicas) - NOTHING
    return bisect_left(range(whole), enough, key=lambda n: demand.carried(other, n))


def _ceil(replicas: float) -> int:
    return math.ceil(replicas - NOTHING)


def _share(targets: Targets, demand: Demand) -> float:
    """Part of the demand that both stages carry, at most one."""
    return min(1.0, demand.carried_by(targets))


def _best(demand: Demand, *, prefill: Bounds, decode: Bounds, gpus: GpusPerReplica, budget: int) -> Targets:
    """Largest carried share, then fewest GPUs; for each P the largest D that still fits.

    GPUs that exist may be fewer than the minimums hold; then the minimums are the best.
    """

    def candidates() -> list[Targets]:
        found = []
        for p in range(prefill.least, prefill.most + 1):
            room = (budget - p * gpus.prefill) // gpus.decode
            if room >= decode.least:
                found.append(Targets(p, min(decode.most, room, _needed(demand.decode, decode))))
        return found

    return max(
        candidates(),
        key=lambda t: (_share(t, demand), -gpus.held_by(t), t.decode),
        default=Targets(prefill.least, decode.least),
    )


def _needed(replicas: float, bounds: Bounds) -> int:
    return bounds.most if math.isinf(replicas) else max(bounds.least, _ceil(replicas))


def _constraint(wanted: Targets, inside: Targets, gpus: GpusPerReplica, room: str) -> str:
    for role in Role:
        if inside.of(role) < wanted.of(role):
            return f"{role}.maxReplicas {inside.of(role)}, {wanted.of(role)} needed"
    return f"{room}, {gpus.held_by(inside)} needed"

"""Placement where a decode replica cannot prefill: the policy chooses among prefill replicas, or chance does.

A policy that would have gone local is overruled, and the reason says so. No prefill replica means busy: the
client may come again, and the pool's floor of replicas is what keeps it from happening.
"""

import random
from dataclasses import dataclass

from pdscale.model.cluster import ClusterView, Endpoint
from pdscale.model.pools import Role
from pdscale.model.units import Seconds
from pdscale.placement.candidates import taking_work
from pdscale.placement.policy import (
    Busy,
    BusyReason,
    Kind,
    Placement,
    PlacementPolicy,
    PlacementReason,
    Round,
    remote,
)


@dataclass(frozen=True, slots=True)
class RemotePlacement:
    """Where the prefill runs, and who may be asked instead, best first."""

    placement: Placement
    alternatives: tuple[str, ...] = ()


def place_remotely(
    policy: PlacementPolicy,
    request: Round,
    view: ClusterView,
    decode: Endpoint,
    *,
    now: Seconds,
    rng: random.Random,
) -> RemotePlacement | Busy:
    found = taking_work(view, Role.PREFILL, without=(decode.name,))
    if not found:
        return Busy(BusyReason.NO_PREFILL_REPLICA)
    ordered = sorted(
        rng.sample(found, len(found)), key=lambda e: (e.load.queued_tokens, e.load.waiting)
    )  # stable: ties stay in the order of chance
    placement = policy.place(request, view, decode, now=now, rng=rng)
    if placement.kind is Kind.LOCAL:
        placement = remote(ordered[0], PlacementReason.ENGINE_ALWAYS_REMOTE)
    others = tuple(e.name for e in ordered if e.name != placement.endpoint.name)
    return RemotePlacement(placement, others)

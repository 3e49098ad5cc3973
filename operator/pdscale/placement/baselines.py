"""The yardsticks: one placement whatever happens."""

import random

from pdscale.model.cluster import ClusterView, Endpoint
from pdscale.model.pools import Role
from pdscale.model.units import Seconds
from pdscale.placement.candidates import taking_work
from pdscale.placement.policy import Placement, PlacementReason, Round, local, remote


class AlwaysLocal:
    """Decode replicas prefill everything: a colocated engine behind a session router."""

    def place(
        self,
        request: Round,
        view: ClusterView,
        decode: Endpoint,
        *,
        now: Seconds,
        rng: random.Random,
    ) -> Placement:
        return local(decode, PlacementReason.POLICY_ALWAYS_LOCAL)


class AlwaysRemote:
    """Every prefill on a prefill replica, the one with the fewest queued tokens; ties by chance."""

    def place(
        self,
        request: Round,
        view: ClusterView,
        decode: Endpoint,
        *,
        now: Seconds,
        rng: random.Random,
    ) -> Placement:
        found = taking_work(view, Role.PREFILL, without=(decode.name,))
        if not found:
            return local(decode, PlacementReason.NO_PREFILL_REPLICA)
        scan = rng.sample(found, len(found))
        least = min(scan, key=lambda e: (e.load.queued_tokens, e.load.waiting))
        return remote(least, PlacementReason.POLICY_ALWAYS_REMOTE)

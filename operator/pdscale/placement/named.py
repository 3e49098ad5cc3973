"""The prefill replica that a request names comes before any policy's choice."""

import random
from dataclasses import dataclass

from pdscale.model.cluster import ClusterView, Endpoint
from pdscale.model.pools import Role
from pdscale.model.units import Seconds
from pdscale.placement.policy import Placement, PlacementPolicy, PlacementReason, Round, remote


@dataclass(frozen=True, slots=True)
class AsNamed:
    """``policy`` decides where none is named, or where the one that is takes no work."""

    policy: PlacementPolicy

    def place(
        self,
        request: Round,
        view: ClusterView,
        decode: Endpoint,
        *,
        now: Seconds,
        rng: random.Random,
    ) -> Placement:
        named = None if request.prefiller is None else view.named(request.prefiller)
        if named is not None and named.role is Role.PREFILL and named.takes_new_work:
            return remote(named, PlacementReason.NAMED_BY_HEADER)
        return self.policy.place(request, view, decode, now=now, rng=rng)

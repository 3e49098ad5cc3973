"""Engines whose decode replicas cannot prefill."""

import random

import pytest

from pdscale.model.cluster import ClusterView, Endpoint, Load
from pdscale.model.pools import Role
from pdscale.placement.baselines import AlwaysLocal, AlwaysRemote
from pdscale.placement.policy import Busy, BusyReason, PlacementPolicy, PlacementReason, Round
from pdscale.placement.remote_only import RemotePlacement, place_remotely

DECODE = Endpoint("d-0", "10.0.0.9", Role.DECODE)


def prefill(name: str, queued: float = 0, *, ready: bool = True, draining: bool = False) -> Endpoint:
    return Endpoint(name, "10.0.0.1", Role.PREFILL, ready, draining, Load(queued_tokens=queued))


def placed(policy: PlacementPolicy, *endpoints: Endpoint) -> RemotePlacement | Busy:
    asked = Round("s", history=100, increment=10, history_moves=False)
    view = ClusterView((DECODE, *endpoints))
    return place_remotely(policy, asked, view, DECODE, now=0, rng=random.Random(1))


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        (AlwaysLocal(), PlacementReason.ENGINE_ALWAYS_REMOTE),
        (AlwaysRemote(), PlacementReason.POLICY_ALWAYS_REMOTE),
    ],
)
def test_a_policy_that_says_local_is_overruled_and_one_that_says_remote_is_not(
    policy: PlacementPolicy, reason: PlacementReason
) -> None:
    got = placed(policy, prefill("p-0", 500), prefill("p-1", 20), prefill("p-2", 300))
    assert isinstance(got, RemotePlacement)
    assert (got.placement.endpoint.name, got.placement.reason) == ("p-1", reason)
    assert got.alternatives == ("p-2", "p-0")


@pytest.mark.parametrize("endpoints", [(), (prefill("p-0", ready=False), prefill("p-1", draining=True))])
def test_no_prefill_replica_means_busy(endpoints: tuple[Endpoint, ...]) -> None:
    assert placed(AlwaysLocal(), *endpoints) == Busy(BusyReason.NO_PREFILL_REPLICA, status=503)

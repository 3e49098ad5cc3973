"""Whose load is asked for before a round is placed, and which queue is the shortest."""

import random

import pytest

from pdscale.model.cluster import ClusterView, Endpoint, Load
from pdscale.model.pools import Role
from pdscale.placement.baselines import AlwaysRemote
from pdscale.placement.freshness import whom_to_ask
from pdscale.placement.policy import PlacementReason, Round

DECODE = Endpoint("d-0", "10.0.0.9", Role.DECODE)
ROUND = Round("s", history=0, increment=4000)


def prefill(number: int, **load: float) -> Endpoint:
    return Endpoint(f"p-{number}", "10.0.0.1", Role.PREFILL, load=Load(**load))  # type: ignore[arg-type]


def view(*endpoints: Endpoint) -> ClusterView:
    return ClusterView((DECODE, *endpoints))


def asked(seen: ClusterView, increment: float = 4000, now: float = 10.0) -> list[str]:
    return [e.name for e in whom_to_ask(seen, increment, now=now)]


@pytest.mark.parametrize(("increment", "names"), [(511, []), (512, ["p-0", "p-1"])])
def test_short_rounds_do_not_pay_for_asking(increment: float, names: list[str]) -> None:
    assert asked(view(prefill(0), prefill(1)), increment) == names


def test_who_has_just_spoken_is_not_asked() -> None:
    assert asked(view(prefill(0, seen_at=9.996), prefill(1, seen_at=9.99))) == ["p-1"]


def test_of_many_only_those_are_asked_that_look_least_busy() -> None:
    many = [prefill(n, backlog=float(20 - n)) for n in range(20)]
    assert sorted(asked(view(*many))) == sorted(f"p-{n}" for n in range(12, 20))


def test_without_prefill_replicas_nobody_is_asked() -> None:
    assert asked(view()) == []


def test_a_decider_does_not_forget_where_it_has_sent_the_last_round() -> None:
    """Three rounds before anybody speaks again go to three replicas."""
    policy, seen = AlwaysRemote(), view(*(prefill(n, queued_tokens=n, seen_at=1.0) for n in range(3)))
    names = [_name(policy, seen, now=2.0 + n) for n in range(3)]
    assert names == ["p-0", "p-1", "p-2"]


def test_what_a_replica_has_told_since_is_not_counted_twice() -> None:
    policy = AlwaysRemote()
    assert (
        _name(policy, view(prefill(0, seen_at=1.0), prefill(1, queued_tokens=9, seen_at=1.0)), 2.0) == "p-0"
    )
    later = view(prefill(0, queued_tokens=5, seen_at=3.0), prefill(1, queued_tokens=9, seen_at=3.0))
    assert _name(policy, later, 4.0) == "p-0"


def _name(policy: AlwaysRemote, seen: ClusterView, now: float) -> str:
    placed = policy.place(ROUND, seen, DECODE, now=now, rng=random.Random(1))
    assert placed.reason is PlacementReason.POLICY_ALWAYS_REMOTE
    return placed.endpoint.name

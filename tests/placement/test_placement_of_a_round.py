"""Local or remote: the AMPD rule and the yardsticks."""

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdscale.model.cluster import ClusterView, Endpoint, Load
from pdscale.model.pools import Role
from pdscale.model.slo import SLO
from pdscale.perf.builtin import BUILTIN
from pdscale.placement.ampd import AMPD
from pdscale.placement.baselines import AlwaysLocal, AlwaysRemote
from pdscale.placement.policy import Kind, PlacementPolicy, PlacementReason, Round

SLOS = SLO(ttft=2.0, tpot=0.05)
RULE = AMPD(BUILTIN["llama-3.1-8b-h100"], SLOS)
ROUND = Round("s", history=4000, increment=500)


def prefill(name: str, **load: object) -> Endpoint:
    return Endpoint(name, "10.0.0.1", Role.PREFILL, load=Load(**load))  # type: ignore[arg-type]


def decode(**load: object) -> Endpoint:
    return Endpoint("d-0", "10.0.0.9", Role.DECODE, load=Load(**load))  # type: ignore[arg-type]


def place(
    policy: PlacementPolicy, owner: Endpoint, *others: Endpoint, asked: Round = ROUND, seed: int = 1
) -> tuple[Kind, str, PlacementReason]:
    found = policy.place(asked, ClusterView((owner, *others)), owner, now=0.0, rng=random.Random(seed))
    return found.kind, found.endpoint.name, found.reason


def test_prefill_with_slack_comes_first() -> None:
    # 0.9 * 2 s = 1.8 s
    late, quick = prefill("p-0", ttft=1.81), prefill("p-1", ttft=1.8)
    for seed in range(5):
        assert place(RULE, decode(itl=0.01), late, quick, seed=seed) == (
            Kind.REMOTE,
            "p-1",
            PlacementReason.PREFILL_SLACK,
        )


def test_an_empty_window_counts_as_slack() -> None:
    assert place(RULE, decode(), prefill("p-0"))[2] is PlacementReason.PREFILL_SLACK
    assert place(RULE, decode(), prefill("p-0", ttft=9.0))[2] is PlacementReason.DECODE_SLACK


def test_decode_with_slack_comes_second() -> None:
    # 0.85 * 50 ms = 42.5 ms
    assert place(RULE, decode(itl=0.0425), prefill("p-0", ttft=9.0)) == (
        Kind.LOCAL,
        "d-0",
        PlacementReason.DECODE_SLACK,
    )


def test_without_slack_the_cheaper_one_wins() -> None:
    pressed = decode(itl=0.049)
    idle, full = prefill("p-0", ttft=9.0), prefill("p-1", ttft=9.0, queued_tokens=100_000)
    assert place(RULE, pressed, full)[2] is PlacementReason.CHEAPER_LOCAL
    busy = replace(pressed, load=replace(pressed.load, queued_tokens=50_000))
    assert place(RULE, busy, idle, full) == (Kind.REMOTE, "p-0", PlacementReason.CHEAPER_REMOTE)


def test_a_history_that_cannot_move_is_computed_again_by_a_remote_prefill() -> None:
    fixed = replace(ROUND, history_moves=False)
    p = prefill("p-0")
    again = RULE.profile.prefill_seconds(4500) + RULE.profile.transfer_seconds(4500)
    assert RULE.remote_seconds(fixed, p) == pytest.approx(again)
    assert RULE.remote_seconds(ROUND, p) < RULE.remote_seconds(fixed, p)


@pytest.mark.parametrize("policy", [RULE, AlwaysRemote()], ids=["AMPD", "AlwaysRemote"])
@pytest.mark.parametrize(
    "others",
    [
        pytest.param((), id="none"),
        pytest.param((replace(prefill("p-0"), ready=False),), id="not ready"),
        pytest.param((replace(prefill("p-0"), draining=True),), id="draining"),
    ],
)
def test_without_a_prefill_replica_a_round_is_local(
    policy: PlacementPolicy, others: tuple[Endpoint, ...]
) -> None:
    assert place(policy, decode(), *others)[2] is PlacementReason.NO_PREFILL_REPLICA


def test_the_yardsticks() -> None:
    others = prefill("p-0", queued_tokens=9), prefill("p-1", queued_tokens=3)
    assert place(AlwaysLocal(), decode(), *others)[:2] == (Kind.LOCAL, "d-0")
    assert place(AlwaysRemote(), decode(), *others)[:2] == (Kind.REMOTE, "p-1")


loads = st.builds(
    Load,
    queued_tokens=st.floats(0, 1e5),
    ttft=st.none() | st.floats(0, 5),
    itl=st.none() | st.floats(0, 0.1),
)


@given(st.lists(loads, min_size=1, max_size=5), loads, st.integers(0, 99), st.randoms())
def test_the_order_of_discovery_decides_nothing(
    figures: list[Load], own: Load, seed: int, shuffler: random.Random
) -> None:
    others = [Endpoint(f"p-{i}", "10.0.0.1", Role.PREFILL, load=load) for i, load in enumerate(figures)]
    owner = Endpoint("d-0", "10.0.0.9", Role.DECODE, load=own)
    shuffled = list(others)
    shuffler.shuffle(shuffled)
    for made in (lambda: RULE, AlwaysRemote):  # one for each: it remembers what it has sent
        assert place(made(), owner, *others, seed=seed) == place(made(), owner, *shuffled, seed=seed)


def test_a_round_refuses_negative_lengths() -> None:
    with pytest.raises(ValueError, match=r"round\.increment must be at least 0, got -1"):
        Round("s", history=0, increment=-1)

"""Threshold, ConServe and the table: rules that look at the round and nothing else."""

import json
import random

import pytest

from pdscale.model.cluster import ClusterView, Endpoint, Load
from pdscale.model.pools import Role
from pdscale.perf.builtin import BUILTIN
from pdscale.placement.baselines import ConServe, Threshold
from pdscale.placement.policy import Kind, PlacementPolicy, PlacementReason, Round
from pdscale.placement.table import Table, read_table, table_of

INF = float("inf")
DECODE = Endpoint("d-0", "10.0.0.9", Role.DECODE)
PREFILL = tuple(
    Endpoint(f"p-{i}", "10.0.0.1", Role.PREFILL, load=Load(queued_tokens=q)) for i, q in enumerate((50, 20))
)
SMALL = Table((100.0, INF), (1000.0, INF), ((False, False), (True, False)))


def place(
    policy: PlacementPolicy, *, history: float, increment: float, others: tuple[Endpoint, ...] = PREFILL
) -> tuple[Kind, str, PlacementReason]:
    asked = Round("s", history=history, increment=increment)
    found = policy.place(asked, ClusterView((DECODE, *others)), DECODE, now=0, rng=random.Random(1))
    return found.kind, found.endpoint.name, found.reason


@pytest.mark.parametrize(("increment", "kind"), [(511, Kind.LOCAL), (512, Kind.REMOTE)])
@pytest.mark.parametrize("history", [0, 4000])
def test_a_threshold_counts_new_tokens_whatever_the_history(
    increment: float, history: float, kind: Kind
) -> None:
    name = "d-0" if kind is Kind.LOCAL else "p-1"
    got = place(Threshold(512), history=history, increment=increment)
    assert got == (kind, name, PlacementReason.THRESHOLD)


def test_a_threshold_below_one_token_is_refused() -> None:
    with pytest.raises(ValueError, match="thresholdTokens must be at least 1, got 0"):
        Threshold(0)


def test_conserve_moves_a_session_once() -> None:
    assert place(ConServe(), history=0, increment=9) == (Kind.REMOTE, "p-1", PlacementReason.FIRST_ROUND)
    assert place(ConServe(), history=9, increment=90_000) == (Kind.LOCAL, "d-0", PlacementReason.PINNED)


@pytest.mark.parametrize(
    ("increment", "history", "kind"),
    [
        pytest.param(100, 1000, Kind.LOCAL, id="on both edges"),
        pytest.param(101, 1000, Kind.REMOTE, id="above one"),
        pytest.param(101, 1001, Kind.LOCAL, id="above both"),
        pytest.param(1e9, 1e9, Kind.LOCAL, id="without end"),
    ],
)
def test_a_table_is_looked_up_by_both_lengths(increment: float, history: float, kind: Kind) -> None:
    assert place(SMALL, history=history, increment=increment)[0] is kind


def test_first_rounds_go_remote_whatever_the_table_says() -> None:
    assert place(SMALL, history=0, increment=1)[2] is PlacementReason.FIRST_ROUND


@pytest.mark.parametrize("policy", [Threshold(1), ConServe(), SMALL], ids=["threshold", "conserve", "table"])
def test_without_a_prefill_replica_everything_is_local(policy: PlacementPolicy) -> None:
    assert place(policy, history=0, increment=500, others=())[2] is PlacementReason.NO_PREFILL_REPLICA


@pytest.mark.parametrize("name", BUILTIN)
def test_the_profiles_table_keeps_words_local_and_sends_books_away(name: str) -> None:
    table = table_of(BUILTIN[name])
    assert place(table, history=8000, increment=50)[0] is Kind.LOCAL
    assert place(table, history=2000, increment=60_000)[0] is Kind.REMOTE
    # Once an increment is too long for a history, longer ones are too.
    for column in zip(*table.remote, strict=True):
        assert list(column) == sorted(column)


def test_weighing_tpot_more_leaves_less_local() -> None:
    shares = [
        sum(not cell for row in table_of(BUILTIN["llama-3.1-8b-h100"], tpot_weight=w).remote for cell in row)
        for w in (1, 3, 6)
    ]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > shares[-1]


def test_a_table_is_read_from_a_document() -> None:
    text = '{"incrementUpTo": [100], "historyUpTo": [1000], "remote": [[false, false], [true, false]]}'
    assert read_table(json.loads(text)) == SMALL


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"remote": None}, "must have lists", id="no cells"),
        pytest.param({"incrementUpTo": [5, 5]}, "increments must rise", id="twice the same edge"),
        pytest.param({"historyUpTo": []}, "2 rows of 1", id="fewer edges than cells"),
        pytest.param({"remote": [[0, 0], [1, 0]]}, "true and false only", id="numbers"),
    ],
)
def test_a_table_that_makes_no_sense_is_refused(change: dict[str, object], message: str) -> None:
    good = {"incrementUpTo": [100], "historyUpTo": [1000], "remote": [[False, False], [True, False]]}
    with pytest.raises(ValueError, match=message):
        read_table(good | change)

"""What a decider learns from first tokens, and what it remembers of its own doing."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdscale.placement.correction import Correction
from pdscale.placement.pledged import Pledged
from pdscale.placement.policy import Kind


def test_nothing_observed_corrects_nothing() -> None:
    assert Correction().factor(Kind.LOCAL, now=5) == 1.0


def test_a_steady_error_is_learned_for_its_own_kind_only() -> None:
    correction = Correction()
    for i in range(300):
        correction.observe(Kind.REMOTE, predicted=1.0, seen=1.4, now=i / 100)
    assert correction.factor(Kind.REMOTE, now=3) == pytest.approx(1.45 / 1.05, rel=0.03)
    assert correction.factor(Kind.LOCAL, now=3) == 1.0


def test_one_hang_of_a_minute_moves_a_factor_by_three_and_a_half_percent() -> None:
    correction = Correction()
    correction.observe(Kind.LOCAL, predicted=0.1, seen=60.0, now=0)
    assert correction.factor(Kind.LOCAL, now=0) == pytest.approx(2**0.05)


def test_some_milliseconds_beside_the_gpu_are_no_error_of_the_profile() -> None:
    correction = Correction(weight=1.0)
    correction.observe(Kind.LOCAL, predicted=0.007, seen=0.017, now=0)
    assert correction.factor(Kind.LOCAL, now=0) < 1.2


def test_what_is_not_seen_again_is_forgotten_by_half_in_a_minute() -> None:
    correction = Correction(weight=1.0)
    correction.observe(Kind.LOCAL, predicted=1.0, seen=1.8, now=0)
    at_once, later = (math.log(correction.factor(Kind.LOCAL, now)) for now in (0, 60))
    assert later == pytest.approx(at_once / 2)


observations = st.tuples(
    st.sampled_from(Kind), st.floats(0, 1e6) | st.just(math.nan), st.floats(0, 1e6), st.floats(0, 100)
)


@given(st.lists(observations, max_size=60))
def test_a_factor_stays_within_its_bounds_whatever_is_observed(
    seen: list[tuple[Kind, float, float, float]],
) -> None:
    correction, now = Correction(), 0.0
    for kind, predicted, took, gap in seen:
        now += gap
        correction.observe(kind, predicted=predicted, seen=took, now=now)
        assert 0.249 <= correction.factor(kind, now) <= 4.001


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weight": 0.0}, "weight must be above 0 and at most 1, got 0.0"),
        ({"most": 0.5}, "most must be at least 1, got 0.5"),
        ({"half_life": 0.0}, "half_life must be above 0s, got 0.0s"),
    ],
)
def test_senseless_constants_are_refused(changes: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Correction(**changes)


def test_work_counts_until_the_replica_has_spoken() -> None:
    pledged = Pledged()
    pledged.note("p", 100, now=1.0)
    pledged.note("p", 50, now=2.0)
    assert pledged.seconds("p", since=0.5) == 150
    assert pledged.seconds("p", since=1.5) == 50
    assert pledged.seconds("p", since=2.1) == 0
    assert pledged.seconds("q", since=0) == 0
    assert len(pledged) == 0


def test_what_is_sent_at_the_instant_of_a_report_is_not_in_it() -> None:
    pledged = Pledged()
    pledged.note("p", 100, now=1.0)
    assert pledged.seconds("p", since=1.0) == 100
    assert pledged.after({"p": 0}, [1.0]) == {0: 100}
    assert pledged.after({"p": 0}, [1.5]) == {}


def test_replicas_that_never_speak_again_are_forgotten() -> None:
    pledged = Pledged()
    for i in range(5000):
        pledged.note(f"p-{i}", 1, now=i / 10)
    assert len(pledged) <= 1024

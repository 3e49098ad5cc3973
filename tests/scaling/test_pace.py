"""Per-direction policies, by the rules that HorizontalPodAutoscaler documents."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdscale.model.pools import Targets
from pdscale.scaling.pace import Behavior, Pace, PacePolicy, Rules, Select, Unit

PODS, PERCENT = Unit.PODS, Unit.PERCENT
FREE = Rules()


def paced(*seen: tuple[float, int, int], up: Rules = FREE, down: Rules = FREE) -> int:
    """Prefill replicas allowed at the last of (now, current, wanted)."""
    pace, allowed = Pace(), Targets(0, 0)
    for now, current, wanted in seen:
        allowed = pace.limit(Targets(wanted, 1), Behavior(up, down), current=Targets(current, 1), now=now)
    return allowed.prefill


def test_without_policies_a_plan_is_followed_at_once() -> None:
    assert paced((0, 1, 40)) == 40
    assert paced((0, 40, 1)) == 1


@pytest.mark.parametrize(
    ("rules", "allowed"),
    [
        pytest.param(Rules((PacePolicy(PODS, 4, 60),)), 14, id="pods"),
        pytest.param(Rules((PacePolicy(PERCENT, 15, 60),)), 12, id="percent of ten, rounded up"),
        pytest.param(
            Rules((PacePolicy(PODS, 4, 60), PacePolicy(PERCENT, 100, 15))), 20, id="the more generous"
        ),
        pytest.param(
            Rules((PacePolicy(PODS, 4, 60), PacePolicy(PERCENT, 100, 15)), Select.MIN), 14, id="the strict"
        ),
        pytest.param(Rules((), Select.DISABLED), 10, id="closed"),
    ],
)
def test_growth_is_bounded_by_its_policies(rules: Rules, allowed: int) -> None:
    assert paced((0, 10, 40), up=rules) == allowed


def test_shrinking_is_bounded_by_its_own_policies_rounded_to_fewer() -> None:
    down = Rules((PacePolicy(PERCENT, 15, 60),))
    assert paced((0, 10, 1), down=down) == 9
    assert paced((0, 10, 40), down=down) == 40


def test_what_was_added_within_the_period_is_not_added_again() -> None:
    up = Rules((PacePolicy(PODS, 2, 60),))
    assert paced((0, 4, 9), (15, 6, 9), up=up) == 6
    assert paced((0, 4, 9), (15, 6, 9), (74, 6, 9), up=up) == 6
    assert paced((0, 4, 9), (15, 6, 9), (75, 6, 9), up=up) == 8


def test_a_change_by_a_person_counts() -> None:
    up = Rules((PacePolicy(PODS, 2, 60),))
    assert paced((0, 4, 4), (15, 5, 9), up=up) == 6


counts = st.integers(0, 50)
policies = st.builds(PacePolicy, st.sampled_from(Unit), st.integers(1, 200), st.floats(1, 1800))
rules = st.builds(Rules, st.lists(policies, max_size=3).map(tuple), st.sampled_from(Select))


@given(st.lists(st.tuples(counts, counts), min_size=1, max_size=8), rules, rules)
def test_the_pace_never_turns_a_plan_round_nor_goes_beyond_it(
    asked: list[tuple[int, int]], up: Rules, down: Rules
) -> None:
    pace = Pace()
    for i, (current, wanted) in enumerate(asked):
        behavior = Behavior(up, down)
        got = pace.limit(Targets(wanted, wanted), behavior, current=Targets(current, current), now=15.0 * i)
        assert min(current, wanted) <= got.prefill <= max(current, wanted)


def test_a_policy_of_nothing_is_refused_with_its_bound() -> None:
    with pytest.raises(ValueError, match="at least 1, got 0"):
        PacePolicy(PODS, 0, 60)
    with pytest.raises(ValueError, match="at most 1800, got 3600"):
        PacePolicy(PODS, 1, 3600)

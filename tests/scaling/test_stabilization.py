import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdscale.model.plan import Plan, Reason
from pdscale.model.pools import Role, Targets
from pdscale.perf.capacity import Capacity, Limit
from pdscale.scaling.demand import Demand
from pdscale.scaling.stabilization import Confirmation, DownscaleWindow, Holds, settle, tolerate


def test_scale_down_waits_for_the_window_to_pass() -> None:
    window = DownscaleWindow(seconds=300)
    high = Targets(4, 8)
    assert window.hold(Plan(high), current=high, now=0).targets == high
    assert window.hold(Plan(Targets(1, 2)), current=high, now=300).targets == high
    assert window.hold(Plan(Targets(1, 2)), current=high, now=301).targets == Targets(1, 2)


def test_an_operator_that_has_just_started_does_not_shrink_at_once() -> None:
    window = DownscaleWindow(seconds=300)
    held = window.hold(Plan(Targets(1, 1)), current=Targets(3, 5), now=1000)
    assert held.targets == Targets(3, 5)
    assert held.steps[-1].reason is Reason.SCALE_DOWN_HELD


def test_a_pool_grows_as_far_as_two_decisions_in_a_row_ask_for() -> None:
    confirmation, current = Confirmation(), Targets(2, 2)
    for asked, grown in [((2, 2), (2, 2)), ((2, 5), (2, 2)), ((3, 4), (2, 4)), ((2, 2), (2, 2))]:
        plan = confirmation.confirm(Plan(Targets(*asked)), current=current, at_once=())
        assert plan.targets == Targets(*grown)


def test_growth_waits_for_nobody_after_a_restart() -> None:
    plan = Confirmation().confirm(Plan(Targets(3, 3)), current=Targets(2, 2), at_once=())
    assert plan.targets == Targets(3, 3)


@pytest.mark.parametrize(
    ("risen", "grown"),
    [
        pytest.param((), Targets(2, 2), id="nothing"),
        pytest.param((Role.DECODE,), Targets(2, 6), id="streams"),
        pytest.param(tuple(Role), Targets(5, 6), id="arrivals"),
    ],
)
def test_a_role_whose_load_has_risen_grows_at_once(risen: tuple[Role, ...], grown: Targets) -> None:
    confirmation, current = Confirmation(), Targets(2, 2)
    confirmation.confirm(Plan(current), current=current, at_once=())
    assert confirmation.confirm(Plan(Targets(5, 6)), current=current, at_once=risen).targets == grown


def test_a_pool_shrinks_without_being_asked_twice() -> None:
    confirmation, current = Confirmation(), Targets(4, 4)
    confirmation.confirm(Plan(current), current=current, at_once=())
    plan = confirmation.confirm(Plan(Targets(1, 4)), current=current, at_once=())
    assert plan.targets == Targets(1, 4)


def test_scale_up_does_not_wait_and_never_goes_beyond_what_is_asked_now() -> None:
    window = DownscaleWindow(seconds=300)
    window.hold(Plan(Targets(9, 9)), current=Targets(1, 1), now=0)
    # The window has seen 9, but 3 is asked for and 1 is there: the window holds, it does not push.
    assert window.hold(Plan(Targets(3, 3)), current=Targets(1, 1), now=1).targets == Targets(3, 3)


@given(st.lists(st.integers(0, 50), min_size=1))
def test_the_window_never_goes_below_what_was_asked(asked: list[int]) -> None:
    window = DownscaleWindow(seconds=10)
    current = Targets(0, 0)
    for now, n in enumerate(asked):
        current = window.hold(Plan(Targets(n, n)), current=current, now=now).targets
        assert current.prefill >= n


def test_a_small_excess_adds_no_replica() -> None:
    need = Demand(3.2, 3.4, Capacity(1, Limit.TTFT), Capacity(1, Limit.TPOT))
    plan = tolerate(Plan(Targets(4, 4)), need, current=Targets(3, 3), tolerance=0.1)
    assert plan.targets == Targets(3, 4)


def test_each_role_waits_as_long_as_its_own_change_costs() -> None:
    window = DownscaleWindow(Holds(prefill=60, decode=120))
    high = Targets(4, 4)
    assert window.hold(Plan(high), current=high, now=0).targets == high
    assert window.hold(Plan(Targets(1, 1)), current=high, now=61).targets == Targets(1, 4)
    assert window.hold(Plan(Targets(1, 1)), current=Targets(1, 4), now=121).targets == Targets(1, 1)


def test_a_fleet_that_carries_nearly_as_much_as_the_best_is_left_as_it_is() -> None:
    need = Demand(6.0, 4.0, Capacity(1, Limit.TTFT), Capacity(1, Limit.TPOT))
    better = Plan(Targets(4, 4)).then(Reason.FORECAST_DEMAND, Targets(5, 3))
    assert settle(better, need, current=Targets(4, 4), tolerance=0.15).targets == Targets(4, 4)
    assert settle(better, need, current=Targets(2, 6), tolerance=0.15).targets == Targets(5, 3)


def test_growth_that_drains_nothing_is_not_held_back_while_the_slo_is_missed() -> None:
    need = Demand(5.2, 7.1, Capacity(1, Limit.TTFT), Capacity(1, Limit.TPOT))
    fuller = Plan(Targets(2, 3)).then(Reason.FORECAST_DEMAND, Targets(3, 3))
    assert settle(fuller, need, current=Targets(2, 3), tolerance=0.1).targets == Targets(3, 3)

from hypothesis import given
from hypothesis import strategies as st

from pdscale.model.plan import Plan, Reason
from pdscale.model.pools import Bounds, GpusPerReplica, PoolState, Targets
from pdscale.scaling.limits import shrink_before_grow, within_bounds, within_budget

ONE = GpusPerReplica(1, 1)


def test_a_pool_grows_only_into_gpus_that_nobody_holds() -> None:
    wanted = Plan(Targets(4, 4)).then(Reason.FORECAST_DEMAND, Targets(2, 6))
    now = shrink_before_grow(
        wanted, prefill=PoolState(4, ready=4), decode=PoolState(4, ready=4), gpus=ONE, budget=8
    )
    assert now.targets == Targets(2, 4)
    assert now.steps[-1].reason is Reason.SHRINK_BEFORE_GROW
    half = shrink_before_grow(
        wanted, prefill=PoolState(2, ready=2, terminating=1), decode=PoolState(4, ready=4), gpus=ONE, budget=8
    )
    assert half.targets == Targets(2, 5)
    done = shrink_before_grow(
        wanted, prefill=PoolState(2, ready=2), decode=PoolState(5, ready=5), gpus=ONE, budget=8
    )
    assert done.targets == Targets(2, 6)


def test_a_lowered_budget_takes_from_the_larger_holder_first() -> None:
    plan = within_budget(Plan(Targets(2, 6)), prefill=Bounds(1, 9), decode=Bounds(1, 9), gpus=ONE, budget=4)
    assert plan.targets == Targets(2, 2)
    assert plan.steps[-1].reason is Reason.BUDGETED


def test_targets_outside_the_bounds_are_brought_inside() -> None:
    assert within_bounds(Plan(Targets(0, 9)), prefill=Bounds(1, 4), decode=Bounds(2, 8)).targets == Targets(
        1, 8
    )


counts = st.integers(0, 12)
states = st.builds(PoolState, counts, ready=counts, starting=counts, unschedulable=counts, terminating=counts)


@given(states, states, counts, counts, st.integers(1, 8), st.integers(1, 8), st.integers(0, 200))
def test_no_write_adds_gpus_beyond_the_budget(
    prefill: PoolState, decode: PoolState, p: int, d: int, gp: int, gd: int, budget: int
) -> None:
    gpus = GpusPerReplica(gp, gd)
    plan = shrink_before_grow(Plan(Targets(p, d)), prefill=prefill, decode=decode, gpus=gpus, budget=budget)
    grown = Targets(
        max(0, plan.targets.prefill - prefill.desired), max(0, plan.targets.decode - decode.desired)
    )
    held = gp * prefill.holding + gd * decode.holding
    assert gpus.held_by(grown) == 0 or held + gpus.held_by(grown) <= budget
    assert plan.targets.prefill <= max(p, prefill.desired)
    assert plan.targets.prefill >= min(p, prefill.desired)


def test_what_is_only_held_gives_way_to_what_is_needed() -> None:
    held = Plan(Targets(6, 6))
    plan = within_budget(
        held, prefill=Bounds(1, 9), decode=Bounds(1, 9), gpus=ONE, budget=8, needed=Targets(2, 6)
    )
    assert plan.targets == Targets(2, 6)


def test_replicas_that_may_change_their_role_do_so_in_one_step() -> None:
    wanted = Plan(Targets(4, 4)).then(Reason.FORECAST_DEMAND, Targets(1, 7))
    both = PoolState(4, ready=4)
    flipped = shrink_before_grow(wanted, prefill=both, decode=both, gpus=ONE, budget=8, flips=True)
    assert flipped.targets == Targets(1, 7)


@given(states, states, counts, counts, st.integers(0, 40))
def test_flips_never_add_to_what_is_held(
    prefill: PoolState, decode: PoolState, p: int, d: int, budget: int
) -> None:
    plan = shrink_before_grow(
        Plan(Targets(p, d)), prefill=prefill, decode=decode, gpus=ONE, budget=budget, flips=True
    ).targets
    before = prefill.desired + decode.desired
    held = prefill.holding + decode.holding
    assert plan.prefill + plan.decode <= max(before, before + budget - held)

import math

from hypothesis import given
from hypothesis import strategies as st

from pdscale.model.pools import Bounds, GpusPerReplica, Targets
from pdscale.perf.capacity import Capacity, Limit
from pdscale.scaling.demand import Demand
from pdscale.scaling.ratio import Fits, Infeasible, cheapest

ONE = GpusPerReplica(1, 1)
WIDE = Bounds(1, 20)


def demand(prefill: float, decode: float) -> Demand:
    return Demand(prefill, decode, Capacity(1, Limit.TTFT), Capacity(1, Limit.TPOT))


def test_the_cheapest_pair_is_the_pair_of_ceilings() -> None:
    found = cheapest(demand(1.2, 3.0), prefill=WIDE, decode=WIDE, gpus=ONE, budget=40)
    assert found == Fits(Targets(2, 3))


def test_a_budget_too_small_gives_the_pair_that_carries_most_and_says_so() -> None:
    found = cheapest(demand(4.0, 12.0), prefill=WIDE, decode=WIDE, gpus=ONE, budget=8)
    assert isinstance(found, Infeasible)
    assert found.best == Targets(2, 6)  # 2/4 = 6/12: balanced
    assert found.share == 0.5
    assert found.constraint == "gpuBudget 8, 16 needed"


def test_a_maximum_too_small_is_named() -> None:
    found = cheapest(demand(1.0, 5.0), prefill=WIDE, decode=Bounds(1, 3), gpus=ONE, budget=40)
    assert isinstance(found, Infeasible)
    assert found.constraint == "decode.maxReplicas 3, 5 needed"
    assert found.best == Targets(1, 3)


def test_an_objective_that_no_replica_meets_is_named() -> None:
    found = cheapest(demand(math.inf, 2.0), prefill=WIDE, decode=WIDE, gpus=ONE, budget=8)
    assert isinstance(found, Infeasible)
    assert found.constraint == "one prefill replica alone misses its TTFT limit"


needs = st.floats(0, 30)
bounds = st.tuples(st.integers(0, 5), st.integers(0, 20)).map(lambda b: Bounds(b[0], b[0] + b[1]))
gpus = st.builds(GpusPerReplica, st.integers(1, 8), st.integers(1, 8))


@given(needs, needs, bounds, bounds, gpus, st.integers(0, 100))
def test_bounds_and_budget_hold_whatever_is_asked(
    p: float, d: float, prefill: Bounds, decode: Bounds, held: GpusPerReplica, spare: int
) -> None:
    budget = held.held_by(Targets(prefill.least, decode.least)) + spare
    found = cheapest(demand(p, d), prefill=prefill, decode=decode, gpus=held, budget=budget)
    best = found.best if isinstance(found, Infeasible) else found.targets
    assert held.held_by(best) <= budget
    assert prefill.least <= best.prefill <= prefill.most
    assert decode.least <= best.decode <= decode.most


@given(needs, needs, st.floats(0, 5), st.floats(0, 5))
def test_more_demand_never_means_fewer_replicas(p: float, d: float, more_p: float, more_d: float) -> None:
    low = cheapest(demand(p, d), prefill=Bounds(0, 50), decode=Bounds(0, 50), gpus=ONE, budget=200)
    high = cheapest(
        demand(p + more_p, d + more_d), prefill=Bounds(0, 50), decode=Bounds(0, 50), gpus=ONE, budget=200
    )
    assert isinstance(low, Fits)
    assert isinstance(high, Fits)
    assert low.targets.prefill <= high.targets.prefill
    assert low.targets.decode <= high.targets.decode

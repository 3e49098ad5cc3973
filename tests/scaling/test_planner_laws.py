"""Laws of the joint plan: they hold for every demand, bounds, budget and fleet."""

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdscale.model.pools import Bounds, GpusPerReplica, Targets
from pdscale.perf.capacity import Capacity, Limit
from pdscale.perf.queueing import Pool
from pdscale.scaling.demand import Demand
from pdscale.scaling.ratio import Fits, Infeasible, cheapest, frontier

ONE = GpusPerReplica(1, 1)
SMALL = Bounds(0, 9)


def demand(prefill: float, decode: float) -> Demand:
    return Demand(prefill, decode, Capacity(1, Limit.TTFT), Capacity(1, Limit.TPOT))


needs = st.floats(0, 12)
gpus = st.builds(GpusPerReplica, st.integers(1, 4), st.integers(1, 4))


def every_pair(prefill: Bounds, decode: Bounds, held: GpusPerReplica, budget: int) -> list[Targets]:
    pairs = (
        Targets(p, d)
        for p in range(prefill.least, prefill.most + 1)
        for d in range(decode.least, decode.most + 1)
    )
    return [pair for pair in pairs if held.held_by(pair) <= budget]


@given(needs, needs, gpus, st.integers(0, 60))
def test_no_pair_at_all_carries_more_or_as_much_for_less(
    p: float, d: float, held: GpusPerReplica, budget: int
) -> None:
    asked = demand(p, d)
    found = cheapest(asked, prefill=SMALL, decode=SMALL, gpus=held, budget=budget)
    best = found.best if isinstance(found, Infeasible) else found.targets
    share = min(1.0, asked.carried_by(best))
    for pair in every_pair(SMALL, SMALL, held, budget):
        other = min(1.0, asked.carried_by(pair))
        assert other <= share + 1e-6
        if isinstance(found, Fits) and other >= 1:
            assert held.held_by(pair) >= held.held_by(best)


@given(needs, needs, gpus, st.integers(0, 60))
def test_the_frontier_is_what_looking_at_every_pair_finds(
    p: float, d: float, held: GpusPerReplica, budget: int
) -> None:
    asked = demand(p, d)
    offers = frontier(asked, prefill=SMALL, decode=SMALL, gpus=held, budget=budget)
    assert [o.gpus for o in offers] == sorted({o.gpus for o in offers})
    assert all(a.share < b.share for a, b in pairwise(offers))
    for pair in every_pair(SMALL, SMALL, held, budget):
        share = min(1.0, asked.carried_by(pair))
        assert any(o.gpus <= held.held_by(pair) and o.share >= share - 1e-6 for o in offers)


@given(needs, needs, st.integers(2, 40), st.integers(0, 10))
def test_a_larger_budget_never_carries_less(p: float, d: float, budget: int, more: int) -> None:
    asked = demand(p, d)

    def carried(gpus: int) -> float:
        found = cheapest(asked, prefill=Bounds(1, 30), decode=Bounds(1, 30), gpus=ONE, budget=gpus)
        return found.share if isinstance(found, Infeasible) else 1.0

    assert carried(budget + more) >= carried(budget)


@given(needs, needs, st.floats(0, 4), st.integers(2, 12))
def test_more_demand_never_means_fewer_gpus_whatever_the_budget(
    p: float, d: float, more: float, budget: int
) -> None:
    def held(prefill: float, decode: float) -> int:
        found = cheapest(
            demand(prefill, decode), prefill=Bounds(1, 9), decode=Bounds(1, 9), gpus=ONE, budget=budget
        )
        return ONE.held_by(found.best if isinstance(found, Infeasible) else found.targets)

    both = held(p * (1 + more), d * (1 + more))
    assert both >= held(p, d) or both >= budget - 1  # integers may leave one GPU that helps nobody


def test_gpus_that_do_not_exist_bind_before_the_budget_and_are_named() -> None:
    found = cheapest(demand(4.0, 4.0), prefill=SMALL, decode=SMALL, gpus=ONE, budget=40, available=6)
    assert found == Infeasible(Targets(3, 3), 0.75, "6 GPUs are there, 8 needed")


def test_two_hundred_replicas_of_each_role_are_planned_within_fifty_milliseconds() -> None:
    wide, eight = Bounds(1, 200), GpusPerReplica(8, 4)
    began = time.process_time()
    for _ in range(10):
        cheapest(demand(190.0, 260.0), prefill=wide, decode=wide, gpus=eight, budget=1600)
        frontier(demand(190.0, 260.0), prefill=wide, decode=wide, gpus=eight, budget=1600)
    assert (time.process_time() - began) / 10 < 0.05


POOL = Pool(0.4, 3.0, limit=2.0, late=0.05)


def pooled(prefill: float, decode: float) -> Demand:
    return Demand(prefill, decode, Capacity(1, Limit.TTFT), Capacity(1, Limit.TPOT), POOL)


@given(needs, needs, gpus, st.integers(0, 60))
def test_prefill_replicas_that_share_their_queue_obey_the_same_laws(
    p: float, d: float, held: GpusPerReplica, budget: int
) -> None:
    asked = pooled(p, d)
    found = cheapest(asked, prefill=SMALL, decode=SMALL, gpus=held, budget=budget)
    share = min(1.0, asked.carried_by(found.best if isinstance(found, Infeasible) else found.targets))
    offers = frontier(asked, prefill=SMALL, decode=SMALL, gpus=held, budget=budget)
    for pair in every_pair(SMALL, SMALL, held, budget):
        other = min(1.0, asked.carried_by(pair))
        assert other <= share + 1e-6
        assert any(o.gpus <= held.held_by(pair) and o.share >= other - 1e-6 for o in offers)


def test_half_a_shared_pool_carries_less_than_half() -> None:
    assert pooled(4.0, 0.0).carried_by(Targets(2, 0)) < 0.4
    assert pooled(4.0, 0.0).carried_by(Targets(4, 0)) == pytest.approx(1.0)

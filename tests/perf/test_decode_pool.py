"""Decode replicas that even out each other's crowds carry more together than alone."""

import heapq
import math
import random
from dataclasses import replace
from statistics import pvariance

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pdscale.model.pools import Role
from pdscale.model.slo import SLO
from pdscale.model.workload import Workload
from pdscale.perf.builtin import BUILTIN
from pdscale.perf.capacity import decode_capacity
from pdscale.perf.decode_pool import DecodePool
from pdscale.scaling.demand import demand_for

PROFILE = BUILTIN["llama-2-70b-a100-tp8-2023"]
SLOS = SLO(ttft=2.0, tpot=0.065)
CONVERSATION = Workload(5.53, 1155, 1155, 2.563e6, 211, 7.11e4)


def pool(workload: Workload = CONVERSATION) -> DecodePool:
    return DecodePool(workload, PROFILE, SLOS)


def test_one_replica_carries_what_it_carries_alone() -> None:
    assert pool().rate(1.0) == decode_capacity(CONVERSATION, PROFILE, SLOS).rate


def test_four_replicas_carry_more_than_four_times_one() -> None:
    assert 4.2 < pool().rate(4.0) / pool().rate(1.0) < 6


def test_rounds_that_go_where_their_history_is_even_nothing_out() -> None:
    bound = replace(CONVERSATION, uncached_tokens=1.0, uncached_tokens_squared=1.0)
    assert pool(bound).rate(4.0) == pytest.approx(4 * pool(bound).rate(1.0), rel=1e-2)


def test_what_carries_nothing_alone_carries_nothing_together() -> None:
    hopeless = DecodePool(CONVERSATION, PROFILE, SLO(ttft=2, tpot=0.04))  # an empty batch takes 43 ms
    assert hopeless.replicas(1.0) == math.inf
    assert hopeless.each(math.inf).rate == 0.0


@settings(max_examples=25, deadline=None)
@given(st.floats(0.01, 200), st.floats(1.0, 1.5), st.floats(0, 1))
def test_more_rounds_never_need_fewer_replicas_and_what_is_needed_carries_them(
    rate: float, more: float, cached: float
) -> None:
    new = CONVERSATION.uncached_tokens * (1 - cached) + 1
    asked = pool(replace(CONVERSATION, uncached_tokens=new, uncached_tokens_squared=2 * new * new))
    need = asked.replicas(rate)
    assert asked.replicas(rate * more) >= need
    assert asked.rate(need) == pytest.approx(rate)
    assert asked.rate(math.ceil(need)) >= rate * (1 - 1e-9)
    assert asked.hosting(rate * more) >= asked.hosting(rate)


@pytest.mark.parametrize(("replicas", "each"), [(2, 10.0), (4, 10.0), (8, 20.0)])
def test_a_simulated_crowd_scatters_as_is_allowed_for(replicas: int, each: float) -> None:
    """Poisson arrivals go where there are fewest. Alone a replica's variance would be its mean."""
    rng, now, ends = random.Random(f"{replicas} {each}"), 0.0, list[tuple[float, int]]()
    heads, seen = [0] * replicas, list[int]()
    for _ in range(20_000):
        now += rng.expovariate(replicas * each)  # lives of 1 s in the mean
        while ends and ends[0][0] <= now:
            heads[heapq.heappop(ends)[1]] -= 1
        least = min(range(replicas), key=heads.__getitem__)
        heads[least] += 1
        heapq.heappush(ends, (now + rng.expovariate(1.0), least))
        seen.extend(heads)
    allowed = each / replicas + 1 - 1 / replicas
    assert 0.7 * allowed < pvariance(seen) < 1.4 * allowed


def test_a_demand_is_carried_by_the_replicas_it_asks_for_and_by_none_fewer() -> None:
    demand = demand_for(replace(CONVERSATION, request_rate=50.0), PROFILE, SLOS)
    enough = math.ceil(demand.decode)
    assert demand.carried(Role.DECODE, enough) >= 1 > demand.carried(Role.DECODE, enough - 1)
    assert demand.decode_capacity.rate > 1.05 * pool().each(1).rate

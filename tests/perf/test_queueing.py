"""The pool's closed form against a simulated queue, and its laws."""

import heapq
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdscale.model.slo import SLO
from pdscale.model.workload import Workload
from pdscale.perf.builtin import BUILTIN
from pdscale.perf.capacity import Limit, decode_capacity, network_capacity
from pdscale.perf.queueing import Pool

PROFILE = BUILTIN["llama-3.1-8b-h100"]


def late(pool: Pool, servers: int, *, rounds: int = 20_000) -> float:
    """Share of rounds that take longer than the limit at the rate that the formula allows."""
    rng, rate = random.Random(7), pool.rate(servers)
    spread = math.sqrt(math.log1p(pool.variation))
    free, now, missed = [0.0] * servers, 0.0, 0
    for _ in range(rounds):
        now += rng.expovariate(rate)
        begins = max(now, heapq.heappop(free))
        ends = begins + rng.lognormvariate(math.log(pool.service) - spread * spread / 2, spread)
        heapq.heappush(free, ends)
        missed += ends - now > pool.limit
    return missed / rounds


@pytest.mark.parametrize("servers", [1, 2, 4, 7])
@pytest.mark.parametrize(
    ("service", "variation"),
    [
        pytest.param(0.4, 1.0, id="spread"),
        pytest.param(0.4, 3.0, id="heavy"),
        pytest.param(0.2, 0.5, id="mild"),
    ],
)
def test_at_the_load_that_is_allowed_the_promise_is_kept_and_not_by_far(
    service: float, variation: float, servers: int
) -> None:
    pool = Pool(service, variation, limit=2.0, late=0.05)
    assert late(pool, servers) <= 0.058
    if pool.load(servers) < 0.9:
        assert late(pool, servers) >= 0.025


def test_where_prompts_are_too_long_anyway_waits_get_half_of_what_may_be_late() -> None:
    pool = Pool(0.4, 3.0, limit=1.0, late=0.05)
    assert pool.hopeless == pytest.approx(0.085, abs=0.01)
    assert pool.load(4) > 0
    assert late(pool, 4) <= pool.hopeless + 0.025


pools = st.builds(
    Pool,
    service=st.floats(0.01, 1.0),
    variation=st.floats(0, 5),
    limit=st.floats(1.1, 10.0),
    late=st.floats(0.01, 0.3),
)


@given(pools, st.floats(1, 50), st.floats(1, 4))
def test_a_larger_pool_never_carries_less_a_replica(pool: Pool, replicas: float, times: float) -> None:
    assert pool.rate(replicas * times) >= times * pool.rate(replicas) * (1 - 1e-6)


@given(pools, st.floats(0.01, 300))
def test_the_replicas_for_a_rate_carry_that_rate(pool: Pool, rate: float) -> None:
    assert pool.rate(pool.replicas(rate)) == pytest.approx(rate, rel=1e-4)


@given(pools, st.floats(0.01, 300), st.floats(1, 3))
def test_more_rounds_never_need_fewer_replicas(pool: Pool, rate: float, times: float) -> None:
    assert pool.replicas(rate * times) >= pool.replicas(rate) * (1 - 1e-6)


def test_a_mean_round_that_is_too_slow_needs_more_replicas_than_there_are() -> None:
    assert Pool(2.0, 1.0, limit=1.0, late=0.05).replicas(1.0) == math.inf


def workload(prompt: float, output: float, *, variation: float = 0.0) -> Workload:
    squared = prompt * prompt * (1 + variation)
    return Workload(1.0, prompt, prompt, squared, output, 2 * output * output)


def test_short_answers_are_bounded_by_the_way_of_their_kv() -> None:
    # 5 ms and 876 tokens of 131 kB at 25 GB/s: 9.6 ms each.
    slo, short = SLO(3.0, 0.03, 0.9), workload(876, 37)
    link = network_capacity(short, PROFILE, slo)
    assert link.limit is Limit.NETWORK
    assert link.rate == pytest.approx(0.95 / 0.0096, rel=0.01)
    assert link.rate < decode_capacity(short, PROFILE, slo).rate


def test_contexts_that_differ_fill_the_memory_sooner() -> None:
    slo = SLO(2.0, 0.05)
    alike, mixed = (decode_capacity(workload(12_000, 350, variation=v), PROFILE, slo) for v in (0.0, 3.0))
    assert mixed.limit is Limit.KV_MEMORY
    assert mixed.streams < 0.85 * alike.streams


def test_bursts_leave_less_load_to_a_pool() -> None:
    calm, bursts = Pool(0.4, 1.0, 2.0, 0.05), Pool(0.4, 1.0, 2.0, 0.05, burstiness=9.0)
    assert bursts.rate(4.0) < 0.8 * calm.rate(4.0)
    assert bursts.replicas(3.0) > calm.replicas(3.0)

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdscale.model.slo import SLO
from pdscale.model.workload import Workload
from pdscale.perf.builtin import BUILTIN
from pdscale.perf.capacity import Limit, decode_capacity, pool_limit, prefill_pool, prefill_service
from pdscale.perf.profile import Profile, Segment

PROFILE = BUILTIN["llama-2-70b-a100-tp8-2023"]
SLOS = SLO(ttft=2.0, tpot=0.065)
# Moments of the Azure 2023 conversation trace (19 366 requests).
CONVERSATION = Workload(5.53, 1155, 1155, 2.563e6, 211, 7.11e4)


def flat(seconds: float) -> Profile:
    """Every prefill takes ``seconds``, whatever its length."""
    segment = (Segment(math.inf, seconds, 0, 0),)
    return Profile("flat", "made up", segment, segment, 1e6, 1, 1e12, transfer_fixed=0)


def test_prefill_work_counts_the_second_moment_exactly() -> None:
    # a + b E[n] + c E[n^2]/2 with a = 45 ms, b = 115 us, c = 16 ns.
    mean, _ = prefill_service(CONVERSATION, PROFILE)
    assert mean == pytest.approx(0.045 + 115e-6 * 1155 + 16e-9 * 2.563e6 / 2, rel=1e-6)


def test_history_makes_prefill_dearer_by_its_attention_only() -> None:
    longer = dataclasses.replace(CONVERSATION, context_tokens=1155 + 4000)
    extra = prefill_service(longer, PROFILE)[0] - prefill_service(CONVERSATION, PROFILE)[0]
    assert extra == pytest.approx(16e-9 * 1155 * 4000, rel=1e-6)


def test_the_waiting_tail_at_the_capacity_is_the_share_that_may_be_late() -> None:
    workload = Workload(1, 100, 100, 10_000, 10, 100)
    slo = SLO(ttft=0.5, tpot=1.0, attainment=0.9)
    rate = prefill_pool(workload, flat(0.1), slo).rate(1.0)
    load = rate * 0.1
    assert load * math.exp(-2 * 0.4 * (1 - load) / 0.1) == pytest.approx(0.1, rel=1e-3)


def test_a_prompt_that_takes_longer_than_the_limit_has_no_capacity() -> None:
    pool = prefill_pool(CONVERSATION, PROFILE, SLO(ttft=0.1, tpot=1))
    assert (pool.rate(1.0), pool_limit(pool, 1.0)) == (0, Limit.TTFT)


def test_decode_is_limited_by_step_time_or_by_memory() -> None:
    assert decode_capacity(CONVERSATION, PROFILE, SLOS).limit is Limit.TPOT
    small = dataclasses.replace(PROFILE, kv_capacity=20_000)
    cramped = decode_capacity(CONVERSATION, small, SLOS)
    assert cramped.limit is Limit.KV_MEMORY
    assert cramped.rate < decode_capacity(CONVERSATION, PROFILE, SLOS).rate
    one_step = SLO(ttft=2, tpot=0.04)  # below the 43 ms of an empty batch
    assert decode_capacity(CONVERSATION, PROFILE, one_step).rate == 0


def test_a_local_prefill_costs_decode_capacity() -> None:
    half = dataclasses.replace(CONVERSATION, local_share=0.5)
    assert decode_capacity(half, PROFILE, SLOS).rate < 0.9 * decode_capacity(CONVERSATION, PROFILE, SLOS).rate


lengths = st.floats(1, 30_000)


@given(new=lengths, history=st.floats(0, 60_000), spread=st.floats(0, 3), out=st.floats(1, 4_000))
def test_a_looser_objective_never_means_less_capacity(
    new: float, history: float, spread: float, out: float
) -> None:
    workload = Workload(1, new + history, new, new * new * (1 + spread * spread), out, out * out)
    for tight, loose in ((SLO(1, 0.05, 0.99), SLO(2, 0.05, 0.99)), (SLO(1, 0.05, 0.99), SLO(1, 0.1, 0.9))):
        pools = prefill_pool(workload, PROFILE, tight), prefill_pool(workload, PROFILE, loose)
        ends = decode_capacity(workload, PROFILE, tight), decode_capacity(workload, PROFILE, loose)
        assert pools[0].rate(1.0) <= pools[1].rate(1.0) * (1 + 1e-6)
        assert ends[0].rate <= ends[1].rate * (1 + 1e-6)

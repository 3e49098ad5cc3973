"""What a split carries beside one pool of all its replicas."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdscale.model.pools import Targets
from pdscale.model.slo import SLO
from pdscale.model.workload import Workload
from pdscale.perf.builtin import BUILTIN
from pdscale.perf.capacity import Limit
from pdscale.perf.split import carried, worth_most

PROFILE = BUILTIN["llama-3.1-8b-h200"]
LIMITS = SLO(1.0, 0.025, 0.95)
SPLIT, POOL = Targets(5, 3), Targets(0, 8)
CHAT = Workload(1.0, 10_500, 7_500, 2.3e8, 340, 2.3e5)


def at(bandwidth: float) -> Targets:
    return worth_most((SPLIT, POOL), CHAT, replace(PROFILE, transfer_bandwidth=bandwidth), LIMITS)


def test_long_prompts_are_worth_a_split_where_their_kv_travels_fast() -> None:
    assert at(25e9) == SPLIT
    assert at(1e9) == POOL


def test_what_limits_a_split_on_a_slow_network_is_the_network() -> None:
    found = carried(SPLIT, CHAT, replace(PROFILE, transfer_bandwidth=1e9), LIMITS)
    assert found.limit is Limit.NETWORK
    assert 0 < found.remote < 1


def test_one_pool_does_not_depend_on_the_network() -> None:
    found = [carried(POOL, CHAT, replace(PROFILE, transfer_bandwidth=b), LIMITS) for b in (1e8, 1e12)]
    assert found[0] == found[1]
    assert found[0].remote == 0


def test_of_equals_the_first_is_taken() -> None:
    assert worth_most((POOL, Targets(0, 8)), CHAT, PROFILE, LIMITS) is POOL


@pytest.mark.parametrize("split", [Targets(1, 0), Targets(4, 0)], ids=str)
def test_without_decode_replicas_nothing_is_carried(split: Targets) -> None:
    assert carried(split, CHAT, PROFILE, LIMITS).rate == 0


@given(st.integers(0, 6), st.integers(1, 6), st.floats(1e9, 1e11))
def test_more_replicas_and_more_bandwidth_never_carry_less(p: int, d: int, bandwidth: float) -> None:
    def rate(prefill: int, decode: int, factor: float = 1.0) -> float:
        profile = replace(PROFILE, transfer_bandwidth=bandwidth * factor)
        return carried(Targets(prefill, decode), CHAT, profile, LIMITS).rate

    least = rate(p, d) * (1 - 1e-9)
    assert rate(p + 1, d) >= least
    assert rate(p, d + 1) >= least
    assert rate(p, d, 2.0) >= least

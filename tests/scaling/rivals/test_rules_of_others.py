"""Each rule on inputs whose answer can be worked out by hand."""

import math
from dataclasses import replace

import pytest

from fakes.sightings import STEP, WIDE, Glimpse, glimpse, history
from fakes.simulated import linear
from pdscale.model.cluster import Load
from pdscale.model.pools import Bounds, PoolState, Targets
from pdscale.model.slo import SLO
from pdscale.model.workload import NoData, Workload
from pdscale.scaling.rivals.clairvoyant import Clairvoyant, Coming, Foresight
from pdscale.scaling.rivals.dopd import DOPD, balanced, damped_trend
from pdscale.scaling.rivals.dynamo import DynamoClassic, decode_replicas, largest_batch, prefill_replicas
from pdscale.scaling.rivals.hpa import HPA, by_ratio, grown_at_most
from pdscale.scaling.rivals.keda import KEDA, patience, peak_prefill
from pdscale.scaling.rivals.kthena import Band, Kthena, repaired
from pdscale.scaling.rivals.reactive import FixedRatio, Reactive
from pdscale.scaling.rivals.sighting import Sighting

# 10 000 prompt tokens a second; a step takes 10 ms and 1 ms per stream: 41 ms with 31, 50 ms with 40.
ENGINE = linear(prefill=(0.0, 1e-4, 0.0), decode=(0.01, 0.001, 0.0), kv_capacity=1e6, max_batched_tokens=8192)
SLOS = SLO(ttft=2.0, tpot=0.05)
ALIKE = Workload(10.0, 1000.0, 1000.0, 1e6, 100.0, 1e4)


@pytest.mark.parametrize(
    ("state", "usage", "replicas"),
    [
        pytest.param(PoolState(4, 4), 1.5, 6, id="half more"),
        pytest.param(PoolState(4, 4), 1.09, 4, id="within the tolerance"),
        pytest.param(PoolState(4, 4), 0.5, 2, id="half as much"),
        pytest.param(PoolState(6, 4, 2), 1.5, 6, id="starting replicas count as idle"),
        pytest.param(PoolState(6, 4, 2), 3.0, 12, id="starting ones will not do"),
        pytest.param(PoolState(6, 4, 2), 0.5, 2, id="starting ones do not keep it up"),
        pytest.param(PoolState(2, 0, 2), 9.0, 2, id="nothing is measured"),
    ],
)
def test_the_autoscaler_of_kubernetes_follows_the_ratio(
    state: PoolState, usage: float, replicas: int
) -> None:
    assert by_ratio(state, usage) == replicas


@pytest.mark.parametrize(("desired", "wanted", "granted"), [(1, 20, 5), (8, 20, 16), (3, 4, 4)])
def test_growth_is_limited_to_the_larger_of_double_and_four(desired: int, wanted: int, granted: int) -> None:
    assert grown_at_most(PoolState(desired, desired), wanted) == granted


def test_the_autoscaler_shrinks_to_the_highest_of_five_minutes() -> None:
    rule = HPA(WIDE, streams=10.0, busy=0.7)
    quiet = glimpse(4, 4, busy=0.35, decode_load=Load(running=5))
    assert rule.decide(quiet, 0.0) == Targets(4, 4)
    assert rule.decide(quiet, 300.0) == Targets(4, 4)
    assert rule.decide(quiet, 301.0) == Targets(2, 2)


def test_the_autoscaler_grows_by_requests_that_wait_and_run() -> None:
    seen = glimpse(2, 2, busy=0.7, decode_load=Load(running=12, waiting=8))
    assert HPA(WIDE, streams=10.0).decide(seen, 0.0) == Targets(2, 4)


def test_the_token_rule_compares_tokens_in_flight_with_what_a_prompt_may_wait() -> None:
    assert peak_prefill(ENGINE) == pytest.approx(10_000)
    assert patience(SLOS, 1000.0, 10_000.0) == pytest.approx(1.9)
    assert patience(SLOS, 30_000.0, 10_000.0) == pytest.approx(0.2)
    # 38 000 tokens are 3.8 s per replica, twice the 1.9 s; KV at 0.8 is just right.
    seen = glimpse(
        2,
        2,
        prefill_load=Load(queued_tokens=38_000),
        decode_load=Load(kv_usage=0.8),
        past=history(),
    )
    assert KEDA(WIDE, ENGINE, SLOS).decide(seen, 0.0) == Targets(4, 2)


@pytest.mark.parametrize(
    ("wanted", "most_prefill", "found"),
    [
        pytest.param(Targets(1, 4), 20, Targets(2, 4), id="the deficient role is raised"),
        pytest.param(Targets(1, 4), 1, Targets(1, 2), id="at its maximum the other is lowered"),
        pytest.param(Targets(6, 2), 20, Targets(6, 6), id="the other way round"),
        pytest.param(Targets(0, 3), 20, Targets(2, 3), id="a side without replicas is seeded"),
        pytest.param(Targets(0, 0), 20, Targets(0, 0), id="nothing at all is left alone"),
        pytest.param(Targets(3, 4), 20, Targets(3, 4), id="inside the band"),
    ],
)
def test_a_ratio_is_repaired_upwards(wanted: Targets, most_prefill: int, found: Targets) -> None:
    limits = replace(WIDE, prefill=Bounds(0, most_prefill))
    assert repaired(wanted, Band(0.5, 1.0), limits) == found


def test_a_band_must_be_one() -> None:
    with pytest.raises(ValueError, match="got 2 and 1"):
        Band(2, 1)


def test_panic_keeps_a_pool_from_shrinking_for_a_minute() -> None:
    rule = Kthena(WIDE, Band(0.01, 100.0), streams=10.0)
    assert rule.decide(glimpse(2, 4, busy=0.35, decode_load=Load(running=20)), 0.0) == Targets(2, 8)
    calm = glimpse(4, 4, busy=0.35, decode_load=Load(running=10))
    assert rule.decide(calm, 59.0) is None
    assert rule.decide(calm, 60.0) == Targets(2, 4)


def test_dynamos_formula_divides_token_rates_by_throughputs() -> None:
    # 10/s * 1000 tokens / 10 000 tokens/s; being slower than profiled does not count, being faster does.
    assert prefill_replicas(ENGINE, ALIKE, observed_ttft=None) == 1
    assert prefill_replicas(ENGINE, replace(ALIKE, request_rate=25.0), observed_ttft=9.9) == 3
    assert prefill_replicas(ENGINE, replace(ALIKE, request_rate=25.0), observed_ttft=0.05) == 2
    # 40 streams within 50 ms: 800 tokens/s; 10/s * 100 tokens need 1.25 replicas.
    assert largest_batch(ENGINE, 1050.0, 0.05) == 40
    assert decode_replicas(ENGINE, ALIKE, itl=0.05) == 2


def test_dynamos_correction_makes_a_slow_engine_look_smaller() -> None:
    rule = DynamoClassic(WIDE, ENGINE, SLOS)
    as_profiled = glimpse(1, 2, decode_load=Load(running=10, itl=0.02), past=history())
    twice_as_slow = glimpse(1, 2, decode_load=Load(running=10, itl=0.04), past=history())
    assert rule.decide(as_profiled, 60.0) == Targets(1, 2)
    # ITL limit 25 ms: 15 streams, 600 tokens/s, 1000 / 600 = 1.7; 12.5 ms: 2 streams, 167 tokens/s.
    assert rule.decide(twice_as_slow, 60.0) == Targets(1, 2)
    assert rule.decide(
        glimpse(1, 2, decode_load=Load(running=10, itl=0.08), past=history()), 60.0
    ) == Targets(1, 6)


def test_the_reactive_rule_grows_at_once_and_holds_for_ninety_seconds() -> None:
    rule = Reactive(WIDE, ENGINE, SLOS)
    many, few = history(rate=40.0), history(rate=5.0)
    grown = rule.decide(glimpse(1, 1, past=many), 0.0)
    assert grown is not None
    assert grown.prefill >= 5
    assert grown.decode >= 5
    there = glimpse(grown.prefill, grown.decode, past=few)
    assert rule.decide(there, 90.0) == grown
    assert rule.decide(there, 91.0) == Targets(1, 1)


def test_a_fixed_ratio_grows_both_pools_by_the_scarcer_one() -> None:
    rule = FixedRatio(WIDE, ENGINE, SLOS, Targets(2, 3))
    need = balanced(ALIKE, ENGINE, SLOS, rate=10.0)
    assert rule.multiple(replace(need, prefill=3.0, decode=3.0)) == Targets(3, 5)
    assert rule.multiple(replace(need, prefill=0.5, decode=6.0)) == Targets(4, 6)
    assert rule.multiple(replace(need, prefill=math.inf)) == Targets(20, 20)


def test_a_damped_trend_goes_on_ever_more_slowly() -> None:
    assert damped_trend([10.0, 20.0], ahead=1) == pytest.approx(15.9)
    assert damped_trend([10.0, 20.0], ahead=2) == pytest.approx(15 + 0.9 + 0.81)
    assert damped_trend([10.0, math.nan, 20.0], ahead=1) == pytest.approx(15.9)
    assert damped_trend([20.0, 0.0, 0.0, 0.0], ahead=50) >= 0
    assert math.isnan(damped_trend([math.nan], ahead=1))


def test_dopd_balances_both_stages() -> None:
    need = balanced(ALIKE, ENGINE, SLOS, rate=34.0)
    # A prompt takes 0.1 s: 8.5/s at load 0.85. 40 streams of 100 steps of 50 ms: 8/s.
    assert need.prefill == pytest.approx(34 / 8.5)
    assert need.decode == pytest.approx(34 / 8)


def test_dopd_follows_a_rising_rate_beyond_what_it_sees() -> None:
    rising = history(rates=tuple(float(k) for k in range(20, 40)))
    level = history(rates=(29.5,) * 20)
    rule = DOPD(WIDE, ENGINE, SLOS, lead=75.0)
    ahead = rule.decide(glimpse(1, 1, past=rising), 0.0)
    flat = DOPD(WIDE, ENGINE, SLOS, lead=75.0).decide(glimpse(1, 1, past=level), 0.0)
    assert ahead is not None
    assert flat is not None
    assert ahead.decode > flat.decode


def test_foresight_knows_rates_and_moments_of_any_window() -> None:
    future = Foresight([Coming(0.0, 100, 50, 10), Coming(5.0, 300, 150, 30), Coming(20.0, 1, 1, 1)])
    assert future.between(0.0, 10.0) == Workload(0.2, 200, 100, (2500 + 22500) / 2, 20, (100 + 900) / 2)
    assert isinstance(future.between(6.0, 20.0), NoData)


def test_the_clairvoyant_grows_before_the_load_comes() -> None:
    rush = Foresight(Coming(100.0 + k / 40, 1000, 1000, 100) for k in range(40 * 60))
    rule = Clairvoyant(WIDE, ENGINE, SLOS, rush, lead=75.0)
    assert rule.decide(glimpse(1, 1), 0.0) == Targets(1, 1)
    grown = rule.decide(glimpse(1, 1), 40.0)
    assert grown is not None
    assert grown.decode >= 5


def rules() -> list[object]:
    return [
        KEDA(WIDE, ENGINE, SLOS),
        DynamoClassic(WIDE, ENGINE, SLOS),
        Reactive(WIDE, ENGINE, SLOS),
        FixedRatio(WIDE, ENGINE, SLOS, Targets(2, 3)),
        DOPD(WIDE, ENGINE, SLOS, lead=75.0),
    ]


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: type(rule).__name__)
def test_without_figures_a_rule_has_no_opinion(rule: Reactive) -> None:
    assert rule.decide(glimpse(2, 3), STEP) is None


@pytest.mark.parametrize(
    "rule",
    [
        *rules(),
        HPA(WIDE, 10.0),
        Kthena(WIDE, Band(0.5, 1.0), 10.0),
        Clairvoyant(WIDE, ENGINE, SLOS, Foresight([]), 75.0),
    ],
    ids=lambda rule: type(rule).__name__,
)
def test_no_rule_leaves_bounds_and_budget(rule: Reactive) -> None:
    tight = replace(WIDE, prefill=Bounds(1, 3), decode=Bounds(1, 4), budget=6)
    rule.limits = tight
    seen: Sighting = crowded()
    found = rule.decide(seen, 60.0)
    assert found is not None
    assert 1 <= found.prefill <= 3
    assert 1 <= found.decode <= 4
    assert found.prefill + found.decode <= 6


def crowded() -> Glimpse:
    return glimpse(
        2,
        3,
        busy=1.0,
        prefill_load=Load(queued_tokens=1e6, ttft=60.0),
        decode_load=Load(running=200, waiting=500, kv_usage=1.0, itl=1.0),
        past=history(rate=500.0),
    )

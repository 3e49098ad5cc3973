import math

import pytest

from pdscale.model.plan import Reason
from pdscale.model.pools import Bounds, GpusPerReplica, PoolState, Targets
from pdscale.model.slo import SLO
from pdscale.model.workload import NoData, Workload
from pdscale.perf.builtin import BUILTIN
from pdscale.scaling.autoscaler import Autoscaler, Decision, Observation
from pdscale.scaling.history import History
from pdscale.scaling.pace import Behavior, PacePolicy, Rules, Unit
from pdscale.scaling.policy import Mode, Policy
from pdscale_forecaster.series import Forecast, Series, TooShort

NOW = 1_000_000.0
STEP = 15.0


def policy(**changes: object) -> Policy:
    settings: dict[str, object] = {
        "slo": SLO(2.0, 0.065),
        "prefill": Bounds(1, 8),
        "decode": Bounds(1, 8),
        "gpus": GpusPerReplica(8, 8),
        "gpu_budget": 128,
        "profile": BUILTIN["llama-2-70b-a100-tp8-2023"],
        "scale_down_window": 60.0,
    }
    return Policy(**{**settings, **changes})  # type: ignore[arg-type]


def history(
    rate: float | list[float], *, completed: float = 1.0, streams: float = math.nan, now: float = NOW
) -> History:
    """Constant lengths of the Azure conversation trace, at a given arrival rate."""
    rates = rate if isinstance(rate, list) else [rate] * 40
    start = now - STEP * (len(rates) - 1)

    def series(value: float) -> Series:
        return Series(start, STEP, tuple(value for _ in rates))

    return History(
        request_rate=Series(start, STEP, tuple(rates)),
        completed=series(completed),
        prompt_tokens=series(1155 * completed),
        uncached_tokens=series(1155 * completed),
        uncached_tokens_squared=series(2.563e6 * completed),
        output_tokens=series(211 * completed),
        output_tokens_squared=series(7.11e4 * completed),
        local_share=series(math.nan),
        decode_streams=series(streams),
    )


def decide(
    past: History | NoData,
    *,
    prefill: PoolState | None = None,
    decode: PoolState | None = None,
    predicted: Forecast | TooShort | None = None,
    now: float = NOW,
    scaler: Autoscaler | None = None,
    **changes: object,
) -> Decision:
    answer = predicted or TooShort("3 samples, 20 needed")
    scaler = scaler or Autoscaler(predict=lambda *_, **__: answer)
    seen = Observation(prefill or PoolState(2, ready=2), decode or PoolState(2, ready=2), past)
    return scaler.decide(policy(**changes), seen, now)


def forecast(value: float) -> Forecast:
    return Forecast(value=value, point=value, quantile=0.9, horizon=75, model="LastValue")


def test_pools_are_sized_for_the_forecast_and_the_trail_says_so() -> None:
    # 10/s over 3.86 a prefill and 2.80 a decode replica: 2.59 and 3.57.
    decision = decide(history(6.0), predicted=forecast(10.0))
    assert decision.apply == Targets(3, 4)
    assert decision.plan.steps[0].reason is Reason.FORECAST_DEMAND
    assert "q90 in 75s 10.00/s by LastValue" in decision.plan.trail


def test_a_short_history_falls_back_to_the_present_load() -> None:
    decision = decide(history(6.5))
    assert decision.apply == Targets(2, 3)
    assert decision.plan.steps[0].reason is Reason.REACTIVE_DEMAND
    assert isinstance(decision.forecast, NoData)


def test_streams_that_are_there_count_although_the_lengths_do_not_explain_them() -> None:
    # 2.80/s at 211 tokens means about 33 streams a replica; 120 streams need four, whatever the rate says.
    decision = decide(history(2.0, streams=120.0))
    assert decision.apply == Targets(2, 4)  # prefill is held by the window
    assert "120 streams" in decision.plan.trail


def test_a_forecast_below_the_present_load_does_not_shed_what_is_in_use() -> None:
    assert decide(history(6.5), predicted=forecast(1.0)).apply == Targets(2, 3)


@pytest.mark.parametrize(
    "past",
    [
        pytest.param(NoData("prometheus: connection refused"), id="no-metrics"),
        pytest.param(history(5.0, now=NOW - 3600), id="stale"),
        pytest.param(history([math.nan] * 40), id="nan"),
        pytest.param(history(5.0, completed=0.0), id="lengths-unknown"),
    ],
)
def test_missing_knowledge_holds_the_replicas(past: History | NoData) -> None:
    decision = decide(past, prefill=PoolState(3, ready=3), decode=PoolState(5, ready=5))
    assert decision.apply == Targets(3, 5)
    assert isinstance(decision.workload, NoData)


def test_bounds_hold_even_without_metrics() -> None:
    decision = decide(NoData("down"), prefill=PoolState(9, ready=9), decode=PoolState(0))
    assert decision.apply == Targets(8, 1)


def test_silence_is_known_and_shrinks_to_the_minimum_after_the_window() -> None:
    scaler = Autoscaler(predict=lambda *_, **__: TooShort("silent"))
    quiet = history(0.0, completed=0.0)
    assert decide(quiet, scaler=scaler).apply == Targets(2, 2)
    later = NOW + 61
    assert decide(history(0.0, completed=0.0, now=later), scaler=scaler, now=later).apply == Targets(1, 1)


def test_a_paused_object_is_left_alone_and_a_recommendation_is_only_shown() -> None:
    paused = decide(history(20.0), mode=Mode.PAUSED)
    assert paused.apply is None
    assert paused.wanted == Targets(2, 2)
    shown = decide(history(20.0), mode=Mode.RECOMMEND)
    assert shown.apply is None
    assert shown.wanted == Targets(5, 7)


def test_a_budget_that_is_too_small_is_said_with_the_constraint() -> None:
    decision = decide(history(10.0), gpu_budget=32)
    assert decision.infeasible is not None
    assert decision.infeasible.constraint == "gpuBudget 32, 56 needed"
    assert decision.apply == Targets(2, 2)
    assert "SLOUnattainable" in decision.plan.trail


def test_growth_waits_for_the_other_pool_to_be_gone() -> None:
    decision = decide(
        history(6.5),
        prefill=PoolState(2, ready=2, terminating=2),
        decode=PoolState(2, ready=2),
        gpu_budget=48,
    )
    assert decision.wanted == Targets(2, 3)
    assert decision.apply == Targets(2, 2)


def test_the_same_observations_give_the_same_plans_after_a_restart() -> None:
    rates = [3.0, 5.0, 8.0, 8.0, 4.0, 4.0, 4.0, 4.0]

    def run(restart_at: int | None) -> list[Targets | None]:
        scaler = Autoscaler(predict=lambda *_, **__: TooShort("none"))
        current, made = Targets(1, 1), []
        for i, rate in enumerate(rates):
            if i == restart_at:
                scaler = Autoscaler(predict=lambda *_, **__: TooShort("none"))
            now = NOW + 15 * i
            decision = decide(
                history(rate, now=now),
                prefill=PoolState(current.prefill, ready=current.prefill),
                decode=PoolState(current.decode, ready=current.decode),
                scaler=scaler,
                now=now,
            )
            assert decision.apply is not None
            current = decision.apply
            made.append(current)
        return made

    straight = run(None)
    # A restart may only lengthen the wait before a scale-down: never fewer replicas than without it.
    for at in range(1, len(rates)):
        restarted = run(at)
        assert all(
            b.prefill >= a.prefill and b.decode >= a.decode for a, b in zip(straight, restarted, strict=True)
        )  # type: ignore[union-attr]


def test_rounds_that_overflowed_to_decode_replicas_are_still_demand_for_prefill() -> None:
    past = history(6.0)
    share = Series(past.local_share.start, STEP, (0.0,) * 30 + (0.9,) * 10)
    overflown = History(**{**{f: getattr(past, f) for f in past.__dataclass_fields__}, "local_share": share})
    found = overflown.workload(window=300)
    assert isinstance(found, Workload)
    assert found.local_share == 0.0


def test_a_plan_that_may_grow_by_two_pods_a_minute_does_so() -> None:
    behavior = Behavior(scale_up=Rules((PacePolicy(Unit.PODS, 2, 60.0),)))
    scaler = Autoscaler(predict=lambda *_, **__: TooShort("none"))
    first = decide(history(20.0), scaler=scaler, behavior=behavior)
    assert first.apply == Targets(4, 4)
    assert "Paced" in first.plan.trail
    ready = PoolState(4, ready=4)
    later = NOW + 15
    again = decide(
        history(20.0, now=later), prefill=ready, decode=ready, scaler=scaler, behavior=behavior, now=later
    )
    assert again.apply == Targets(4, 4)

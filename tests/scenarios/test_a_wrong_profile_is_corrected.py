"""Engines that take other times than the planner is told, in virtual time, routers and all."""

from dataclasses import replace

import pytest

from pdscale.scaling.autoscaler import Autoscaler
from pdscale.scaling.calibration import Factors
from pdscale.scenarios.building import scenario_of
from pdscale.scenarios.engines import models_of
from pdscale.scenarios.reading import read_settings
from pdscale.scenarios.scaling import policy_of
from pdscale.scenarios.settings import PlacementName, ScalingName, Settings
from pdscale.scenarios.traffic import traffic_of
from pdscale.sim.judge import Verdict, judge
from pdscale.sim.scaler import LiveScaler
from pdscale.sim.simulation import simulate
from pdscale_forecaster.series import Series, TooShort

STEADY = {
    "workload": "conversation",
    "rate": "6",
    "duration": "20m",
    "warm_up": "8m",
    "profile": "llama-2-70b-a100-tp8-2023",
    "ttft": "2s",
    "tpot": "75ms",
    "prefill": "3",
    "decode": "3",
    "noise": "0.1",
    "seed": "21",
}
LOCAL = STEADY | {"workload": "drifting", "profile": "llama-3.1-8b-h100", "tpot": "30ms"}


def nothing_to_forecast(series: Series, *, horizon: float, quantile: float, model: str) -> TooShort:
    return TooShort("reactive on purpose")


def planned(said: dict[str, str], *, slowdown: float, calibrate: bool = True) -> tuple[Factors, Verdict]:
    settings: Settings = replace(read_settings(said), slowdown=slowdown)
    traffic = traffic_of(settings, 21)
    policy = replace(policy_of(settings, models_of(settings).profile), calibrate=calibrate)
    scaler = LiveScaler(Autoscaler(nothing_to_forecast), policy)
    plan = scenario_of(settings, traffic, placement=PlacementName.COST_BASED, scaling=ScalingName.PDSCALE)
    result = simulate(replace(plan, scaler=lambda: scaler), traffic, seed=21)
    assert scaler.last is not None
    found = scaler.last.factors
    verdict = judge(result, settings.slo, start=settings.warm_up, stop=traffic.last_start)
    return found if isinstance(found, Factors) else Factors(), verdict


def test_slower_engines_get_the_replicas_that_they_need() -> None:
    _, trusting = planned(STEADY, slowdown=1.3, calibrate=False)
    factors, correcting = planned(STEADY, slowdown=1.3)
    assert factors.prefill == pytest.approx(1.3, rel=0.08)
    assert factors.decode == pytest.approx(1.3, rel=0.03)
    assert correcting.attainment > 0.9 > trusting.attainment + 0.2


def test_faster_engines_are_fewer() -> None:
    _, trusting = planned(STEADY, slowdown=1 / 1.3, calibrate=False)
    factors, correcting = planned(STEADY, slowdown=1 / 1.3)
    assert factors.prefill == pytest.approx(1 / 1.3, rel=0.08)
    assert factors.decode == pytest.approx(1 / 1.3, rel=0.03)
    assert correcting.gpu_hours < 0.95 * trusting.gpu_hours
    assert correcting.attainment > 0.95


def test_a_right_profile_is_left_alone() -> None:
    factors, correcting = planned(STEADY, slowdown=1.0)
    assert factors == Factors()
    assert correcting == planned(STEADY, slowdown=1.0, calibrate=False)[1]


@pytest.mark.parametrize("slowdown", [1.0, 1.3])
def test_lengths_that_change_do_not_look_like_other_engines(slowdown: float) -> None:
    factors, _ = planned(LOCAL, slowdown=slowdown)
    assert factors.prefill == pytest.approx(slowdown, rel=0.1)
    assert factors.decode == pytest.approx(slowdown, rel=0.1)

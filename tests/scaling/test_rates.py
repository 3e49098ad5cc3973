"""The rate that is sized for: with a forecast, without one yet, and of bursts."""

import math
import random

import pytest

from pdscale.model.pools import Bounds, GpusPerReplica
from pdscale.model.slo import SLO
from pdscale.model.workload import NoData
from pdscale.perf.builtin import BUILTIN
from pdscale.scaling.level import Chance, burstiness_of
from pdscale.scaling.policy import Policy
from pdscale.scaling.rates import Arrivals, Predict, arrivals, beyond_counting, rise
from pdscale_forecaster.series import Forecast, Series, TooShort

STEP = 15.0
POISSON = Chance(1.0)


POLICY = Policy(
    slo=SLO(2.0, 0.05),
    prefill=Bounds(1, 8),
    decode=Bounds(1, 8),
    gpus=GpusPerReplica(1, 1),
    gpu_budget=16,
    profile=BUILTIN["llama-3.1-8b-h100"],
)


def rate(*values: float) -> Series:
    return Series(0.0, STEP, values)


def said(point: float, value: float) -> Predict:
    def predict(series: Series, *, horizon: float, quantile: float, model: str) -> Forecast:
        return Forecast(value, point, quantile, horizon, model)

    return predict


def blind(series: Series, *, horizon: float, quantile: float, model: str) -> TooShort:
    return TooShort("on purpose")


def sized(values: tuple[float, ...], predict: Predict) -> Arrivals:
    return arrivals(rate(*values), POLICY, predict, now=60.0, burstiness=1.0)


def test_never_fewer_than_arrive_now_are_sized_for() -> None:
    found = sized((4.0,) * 8, said(1.0, 2.0))
    assert (found.present, found.ahead, found.rising) == (4.0, 4.0, False)


@pytest.mark.parametrize(
    ("point", "rising"),
    # Two standard errors of a minute at 4/s are 0.52/s.
    [pytest.param(4.4, False, id="by chance"), pytest.param(4.6, True, id="by more than chance")],
)
def test_a_forecast_that_chance_explains_is_no_rise(point: float, rising: bool) -> None:
    assert sized((4.0,) * 8, said(point, 9.0)).rising is rising


def test_arrivals_have_risen_whatever_the_forecast_says() -> None:
    assert sized((2.6,) * 4 + (3.6,) * 4, said(1.0, 1.0)).risen
    assert not sized((3.0,) * 4 + (3.6,) * 4, said(9.0, 9.0)).risen


def test_without_a_forecast_a_rise_is_taken_to_go_on() -> None:
    found = sized((2.6,) * 4 + (3.6,) * 4, blind)
    assert isinstance(found.forecast, NoData)
    assert found.rising
    assert found.ahead == pytest.approx(3.6 + 1.0 * 90 / 60)


@pytest.mark.parametrize(("lead", "ahead"), [(30.0, 4.6), (60.0, 5.1), (195.0, 5.1)])
def test_a_rise_goes_on_for_no_longer_than_it_was_seen(lead: float, ahead: float) -> None:
    values = (2.6,) * 4 + (3.6,) * 4
    assert rise(rate(*values), POISSON, lead=lead) == pytest.approx(ahead)


@pytest.mark.parametrize(
    "values",
    [
        pytest.param((3.0,) * 4 + (3.6,) * 4, id="chance explains it"),
        pytest.param((3.6,) * 4 + (2.0,) * 4, id="it falls"),
        pytest.param((2.0, 2.0, 9.0, 9.0), id="too young"),
        pytest.param((math.nan,) * 4 + (9.0,) * 4, id="nothing known before"),
    ],
)
def test_what_does_not_rise_has_no_trend(values: tuple[float, ...]) -> None:
    assert rise(rate(*values), POISSON, lead=75.0) is None


def test_bursts_are_told_from_counts_and_what_they_scatter_is_not_paid_twice() -> None:
    rng = random.Random(5)
    poisson = rate(*(sum(rng.random() < 0.01 for _ in range(6000)) / STEP for _ in range(120)))
    # Arrivals that come nine at a time: counts with nine times Poisson's variance.
    bursts = rate(*(9 * v for v in poisson.values))
    assert burstiness_of(poisson) == 1.0
    assert burstiness_of(bursts) == pytest.approx(9.0, rel=0.35)
    told = Forecast(value=7.0, point=4.0, quantile=0.9, horizon=75, model="Level")
    assert beyond_counting(told, step=STEP, burstiness=9.0) < beyond_counting(told, step=STEP) < 7.0


def test_few_counts_that_differ_are_no_bursts_yet() -> None:
    assert burstiness_of(rate(2.0, 3.0, 2.0, 3.2)) == 1.0

"""Rolling-origin evaluation: the losses themselves, and that they are honest."""

import math

import numpy as np
import pytest

from pdscale_forecaster import Backtest, Series, backtest
from pdscale_forecaster.losses import coverage, pinball, wape
from pdscale_forecaster.rolling import origins, rolling


def _noisy(samples: int) -> Series:
    values = np.random.default_rng(3).poisson(20.0, samples).astype(np.float64)
    return Series(0.0, 15.0, tuple(values.tolist()))


def test_being_too_low_costs_the_quantile_and_too_high_the_rest() -> None:
    assert pinball(np.array([10.0]), np.array([8.0]), 0.9) == pytest.approx(1.8)
    assert pinball(np.array([8.0]), np.array([10.0]), 0.9) == pytest.approx(0.2)


def test_coverage_forgives_rounding() -> None:
    assert coverage(np.array([0.3, 1.0]), np.array([0.1 + 0.2 - 1e-16, 0.5])) == 0.5


@pytest.mark.parametrize(
    ("actual", "said", "expected"),
    [([2.0, 2.0], [1.0, 4.0], 0.75), ([0.0], [0.0], 0.0), ([0.0], [1.0], math.inf)],
)
def test_wape_is_error_over_load(actual: list[float], said: list[float], expected: float) -> None:
    assert wape(np.array(actual), np.array(said)) == expected


def test_a_backtest_judges_every_origin_of_the_later_part() -> None:
    result = backtest(_noisy(200), horizon=60, quantile=0.9, model="Level")
    assert isinstance(result, Backtest)
    assert result.origins == 96
    assert result.chosen == {"Level": 96}
    assert result.coverage == pytest.approx(0.9, abs=0.1)
    assert result.mean == pytest.approx(20, rel=0.1)


@pytest.mark.parametrize("model", ["LastValue", "MovingMaximum", "Level", "Ridge"])
@pytest.mark.parametrize("quantile", [0.5, 0.9])
def test_quantiles_hold_as_often_as_they_say(model: str, quantile: float) -> None:
    result = backtest(_noisy(800), horizon=60, quantile=quantile, model=model, every=2)
    assert isinstance(result, Backtest)
    # Three standard deviations of a share counted over so many origins.
    luck = 3 * math.sqrt(quantile * (1 - quantile) / result.origins)
    assert result.coverage == pytest.approx(quantile, abs=luck)


def test_unknown_samples_are_neither_origins_nor_targets() -> None:
    values = list(_noisy(200).values)
    values[150] = math.nan
    result = backtest(Series(0.0, 15.0, tuple(values)), horizon=60, quantile=0.9, model="Level")
    assert isinstance(result, Backtest)
    assert result.origins == 94


def test_at_each_origin_only_the_past_is_seen_and_the_future_is_what_came() -> None:
    series = Series(0.0, 15.0, (0.0, 1.0, 2.0, math.nan, 4.0, 5.0, 6.0))
    asked = origins(series, steps=2, first=1)
    assert asked == [2, 4]  # what came after the first is unknown, and the fourth is itself
    walk = list(rolling(series, asked, steps=2, say=lambda seen: seen, history=30.0))
    assert [(seen.start, seen.values[-1], came) for _, seen, came in walk] == [
        (15.0, 2.0, 4.0),
        (45.0, 4.0, 6.0),
    ]
    assert all(len(seen.values) == 2 for _, seen, _ in walk)


def test_a_horizon_is_never_cut_short_to_whole_samples() -> None:
    series = Series(0.0, 15.0, ())
    assert (series.steps(60.0), series.steps(61.0), series.steps(3 * 15.0000000001)) == (4, 5, 3)


def test_origins_with_too_little_history_are_counted_apart() -> None:
    result = backtest(_noisy(100), horizon=60, quantile=0.9, model="LastValue", skip=0.2)
    assert isinstance(result, Backtest)
    assert (result.origins, result.too_short) == (61, 15)


def test_forecasts_may_be_held_to_a_shorter_memory() -> None:
    result = backtest(_noisy(100), horizon=60, quantile=0.9, history=300)
    assert isinstance(result, Backtest)
    # Twenty samples hold three past forecasts; the others are errors that the forecaster itself has made.
    assert (result.origins, result.too_short) == (30, 16)

"""Each model alone: what it learns, and that it never looks into the future."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone

from pdscale_forecaster.gaps import Values
from pdscale_forecaster.models import LastValue, Level, Model, MovingMaximum, RidgeLags

GAP = math.nan
ALL = [
    pytest.param(LastValue(2), id="LastValue"),
    pytest.param(MovingMaximum(2, window=3), id="MovingMaximum"),
    pytest.param(Level(2), id="Level"),
    pytest.param(RidgeLags(2), id="RidgeLags"),
    pytest.param(RidgeLags(2, season=10), id="RidgeLags with a season"),
]


def _fitted(model: Model, values: Values) -> Values:
    fitted: Model = clone(model)
    return fitted.fit(values).predict(values)


def _noisy(samples: int, seed: int = 1) -> Values:
    return np.random.default_rng(seed).poisson(20.0, samples).astype(np.float64)


@pytest.mark.parametrize("model", ALL)
def test_a_clone_has_the_same_parameters_and_no_memory(model: Model) -> None:
    fitted = clone(model).fit(_noisy(60))
    assert fitted.get_params() == clone(fitted).get_params() == model.get_params()
    assert not [name for name in vars(clone(fitted)) if name.endswith("_")]


@pytest.mark.parametrize("model", ALL)
@settings(max_examples=25, deadline=None)
@given(
    values=st.lists(st.one_of(st.just(GAP), st.floats(0, 100)), min_size=30, max_size=50),
    origin=st.integers(5, 29),
)
def test_a_forecast_depends_on_the_past_alone(model: Model, values: list[float], origin: int) -> None:
    samples = np.array(values)
    fitted = clone(model).fit(_noisy(60))
    at_once = fitted.predict(samples)[origin]
    alone = fitted.predict(samples[: origin + 1])[-1]
    np.testing.assert_allclose(at_once, alone, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("model", ALL)
def test_nothing_is_said_before_the_first_known_sample(model: Model) -> None:
    forecasts = _fitted(model, np.concatenate([[GAP, GAP], _noisy(60)]))
    assert np.isnan(forecasts[:2]).all()
    assert np.isfinite(forecasts[2:]).all()


@pytest.mark.parametrize("model", ALL)
def test_a_series_of_gaps_is_fitted_and_says_nothing(model: Model) -> None:
    assert np.isnan(_fitted(model, np.full(40, GAP))).all()


def test_the_moving_maximum_forgets_what_left_its_window() -> None:
    forecasts = MovingMaximum(1, window=2).predict(np.array([9.0, 1.0, 2.0, GAP, GAP]))
    np.testing.assert_array_equal(forecasts, [9.0, 9.0, 2.0, 2.0, 2.0])


def test_the_level_is_stiff_under_noise_and_quick_under_drift() -> None:
    stiff = Level(1).fit(_noisy(300))
    quick = Level(1).fit(np.cumsum(_noisy(300) - 20.0) + 500.0)
    assert stiff.ratio_ < 0.05 < 1.0 <= quick.ratio_


def test_after_a_gap_the_level_believes_the_next_sample_more() -> None:
    level = Level(1, ratios=(0.05,)).fit(np.ones(40))
    steady = level.predict(np.array([10.0] * 40 + [20.0]))[-1]
    after_gap = level.predict(np.array([10.0] * 40 + [GAP] * 40 + [20.0]))[-1]
    assert 10.0 < steady < after_gap < 20.0


def test_ridge_learns_a_rhythm_that_the_level_cannot() -> None:
    wave = np.tile([10.0, 20.0, 30.0, 20.0], 40)
    errors = {
        model: np.abs(_fitted(model, wave)[80:-1] - wave[81:]).mean() for model in (RidgeLags(1), Level(1))
    }
    ridge, level = errors.values()
    assert ridge < level / 4


def test_ridge_uses_a_season_once_it_has_seen_two() -> None:
    days = 20.0 + 10.0 * np.sin(np.arange(400) * 2 * np.pi / 100)
    seasonal, plain = RidgeLags(25, season=100), RidgeLags(25, lags=1)
    errors = [np.abs(_fitted(m, days)[300:-25] - days[325:]).mean() for m in (seasonal, plain)]
    assert errors[0] < errors[1] / 2
    assert seasonal.fit(days).seasonal_
    assert not seasonal.fit(days[:200]).seasonal_


def test_ridge_stays_within_the_changes_that_it_has_seen() -> None:
    ridge = RidgeLags(1).fit(_noisy(100))
    jump = np.concatenate([_noisy(50), [GAP] * 10, [2000.0]])
    assert ridge.predict(jump)[-1] <= 2000.0 * _noisy(100).max() / 10.0


def test_ridge_without_enough_samples_says_the_last_one() -> None:
    values = np.array([1.0, 2.0, 3.0, 4.0])
    np.testing.assert_array_equal(_fitted(RidgeLags(1), values), values)

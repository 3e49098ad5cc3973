"""Each model alone: what it learns, and that it never looks into the future."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge

from pdscale_forecaster.gaps import Values
from pdscale_forecaster.models import (
    Boosting,
    Ensemble,
    LastValue,
    Level,
    Model,
    MovingMaximum,
    QuantileLines,
    RidgeLags,
    SeasonalNaive,
)
from pdscale_forecaster.models.ridge_lags import penalised

GAP = math.nan
ALL = [
    pytest.param(LastValue(2), id="LastValue"),
    pytest.param(MovingMaximum(2, window=3), id="MovingMaximum"),
    pytest.param(Level(2), id="Level"),
    pytest.param(RidgeLags(2), id="RidgeLags"),
    pytest.param(RidgeLags(2, season=10), id="RidgeLags with a season"),
    pytest.param(SeasonalNaive(2, season=7), id="SeasonalNaive"),
    pytest.param(SeasonalNaive(9, season=7), id="SeasonalNaive beyond a season"),
    pytest.param(QuantileLines(2), id="QuantileLines"),
    pytest.param(QuantileLines(2, season=10), id="QuantileLines with a season"),
    pytest.param(Boosting(2, trees=5), id="Boosting"),
    pytest.param(Boosting(2, trees=5, season=10), id="Boosting with a season"),
]


def _fitted(model: Model, values: Values) -> Values:
    return model.anew().fit(values).predict(values)


def _noisy(samples: int, seed: int = 1) -> Values:
    return np.random.default_rng(seed).poisson(20.0, samples).astype(np.float64)


@pytest.mark.parametrize("model", ALL)
def test_a_model_made_anew_has_the_same_parameters_and_no_memory(model: Model) -> None:
    fitted = model.anew().fit(_noisy(600))
    assert fitted.parameters == fitted.anew().parameters == model.parameters
    assert vars(fitted.anew()) == model.parameters


@pytest.mark.parametrize("model", ALL)
@settings(max_examples=25, deadline=None)
@given(
    values=st.lists(st.one_of(st.just(GAP), st.floats(0, 100)), min_size=30, max_size=50),
    origin=st.integers(5, 29),
)
def test_a_forecast_depends_on_the_past_alone(model: Model, values: list[float], origin: int) -> None:
    samples = np.array(values)
    fitted = model.anew().fit(_noisy(130))
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


@pytest.mark.parametrize(
    ("ratio", "steps", "growth"),
    [
        pytest.param(0.05, 1, 1.0, id="one sample ahead"),
        pytest.param(0.05, 40, 1.6, id="gain 0.2"),
        pytest.param(1e6, 40, math.sqrt(40), id="a random walk"),
    ],
)
def test_errors_of_a_level_grow_with_what_it_takes_for_drift(ratio: float, steps: int, growth: float) -> None:
    assert Level(steps, ratios=(ratio,)).fit(np.ones(40)).growth == pytest.approx(growth, rel=1e-4)


def test_a_load_that_changes_once_is_not_taken_for_one_that_always_does() -> None:
    once = np.concatenate([_noisy(60), _noisy(60) * 2])
    assert Level(40).fit(once).growth < 3.0


def test_after_a_gap_the_level_believes_the_next_sample_more() -> None:
    level = Level(1, ratios=(0.05,)).fit(np.ones(40))
    steady = level.predict(np.array([10.0] * 40 + [20.0]))[-1]
    after_gap = level.predict(np.array([10.0] * 40 + [GAP] * 40 + [20.0]))[-1]
    assert 10.0 < steady < after_gap < 20.0


def test_ridge_finds_the_weights_that_scikit_learn_finds() -> None:
    draw = np.random.default_rng(3)
    rows = draw.normal(2.0, 1.0, (60, 5))
    targets = rows @ draw.normal(0.0, 1.0, 5) + draw.normal(0.0, 0.1, 60)
    theirs = Ridge(alpha=7.0).fit(rows, targets)
    weights, intercept = penalised(rows, targets, 7.0)
    np.testing.assert_allclose(weights, theirs.coef_, rtol=1e-9)
    assert intercept == pytest.approx(theirs.intercept_, rel=1e-9)


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


@pytest.mark.parametrize("model", ALL)
def test_a_forecast_needs_no_more_of_the_past_than_it_says(model: Model) -> None:
    values = _noisy(900, seed=4)
    fitted = model.anew().fit(values[:450])
    # Seasons of 7 and 10 samples: a cut at a multiple of 70 keeps their phase.
    cut = (len(values) - model.reach) // 70 * 70
    assert fitted.predict(values[cut:])[-1] == pytest.approx(fitted.predict(values)[-1], rel=1e-4)


def test_the_seasonal_naive_says_what_was_a_season_before() -> None:
    values = np.arange(30, dtype=np.float64)
    said = SeasonalNaive(3, season=10).fit(values).predict(values)
    # From 20 about 23, which was 13 a season before.
    assert said[20] == 13.0
    # There is no season before the third sample: the last value.
    assert said[3] == 3.0


def test_an_unknown_season_is_looked_for_one_earlier() -> None:
    values = np.arange(40, dtype=np.float64)
    values[15:25] = GAP
    assert SeasonalNaive(3, season=10).fit(values).predict(values)[30] == 13.0


def _days(seed: int) -> Values:
    phase = np.arange(1000) * 2 * np.pi / 100
    noise = np.random.default_rng(seed).normal(0, 1, 1000)
    return np.maximum(0.0, 20.0 + 10.0 * np.sin(phase) + noise)


@pytest.mark.parametrize("model", [QuantileLines(25, season=100), Boosting(25, season=100)])
def test_regressions_learn_a_season(model: Model) -> None:
    days = _days(1)
    fitted = model.anew().fit(days[:700])
    wrong = np.abs(fitted.predict(days)[700:-25] - days[725:]).mean()
    last = np.abs(days[700:-25] - days[725:]).mean()
    assert wrong < last / 4


def test_a_burst_does_not_bend_what_lines_say_of_quiet_times() -> None:
    quiet = _noisy(600)
    bursts = np.where(np.arange(600) % 50 == 0, 4000.0, quiet)
    said = QuantileLines(7).fit(bursts).predict(quiet)
    assert 10.0 < np.median(said) < 25.0


@pytest.mark.parametrize("model", [QuantileLines(1), Boosting(1)])
def test_regressions_stay_within_the_changes_that_they_have_seen(model: Model) -> None:
    fitted = model.anew().fit(_noisy(500))
    jump = np.concatenate([_noisy(50), [GAP] * 10, [2000.0]])
    assert fitted.predict(jump)[-1] <= 2000.0 * _noisy(500).max() / 8.0


def test_trees_give_the_same_forest_for_the_same_seed() -> None:
    values = _noisy(500)
    np.testing.assert_array_equal(_fitted(Boosting(1, seed=3), values), _fitted(Boosting(1, seed=3), values))


def test_the_ensemble_is_the_mean_of_its_members_alone() -> None:
    said = {"a": np.array([1.0, 2.0]), "b": np.array([3.0, 6.0]), "c": np.array([90.0, 90.0])}
    np.testing.assert_array_equal(Ensemble(("a", "b")).combine(said), [2.0, 4.0])

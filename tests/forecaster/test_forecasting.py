"""The one call that the operator makes: laws, honesty, and what it says of too little history."""

import doctest
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pdscale_forecaster
from pdscale_forecaster import AUTO, MODELS, Forecast, Series, TooShort, forecast

NAMES = [AUTO, *MODELS]
GAP = math.nan


def _series(values: list[float] | np.ndarray[tuple[int], np.dtype[np.float64]]) -> Series:
    return Series(0.0, 15.0, tuple(float(v) for v in values))


def _noisy(samples: int, *, mean: float = 20.0, seed: int = 1) -> Series:
    return _series(np.random.default_rng(seed).poisson(mean, samples).astype(np.float64))


def _said(series: Series, *, quantile: float = 0.9, model: str = AUTO, horizon: float = 60.0) -> Forecast:
    said = forecast(series, horizon=horizon, quantile=quantile, model=model)
    assert isinstance(said, Forecast)
    return said


_SAMPLES = st.one_of(
    st.just(GAP),
    st.just(0.0),
    st.floats(0, 1000),
    st.floats(0, allow_nan=False, allow_infinity=False),
)


@st.composite
def _loads(draw: st.DrawFn) -> Series:
    """A few regimes one after the other, gaps and extremes among them, long enough to be forecast."""
    pieces = draw(st.lists(st.lists(_SAMPLES, min_size=1, max_size=6), min_size=1, max_size=4))
    times = draw(st.integers(5, 25))
    return _series(list(itertools.chain.from_iterable(piece * times for piece in pieces)))


@pytest.mark.parametrize("model", NAMES)
@settings(max_examples=15, deadline=None)
@given(load=_loads(), quantile=st.floats(0.01, 0.97), horizon=st.floats(0.1, 400))
def test_a_forecast_is_a_finite_load_whatever_was_seen(
    model: str, load: Series, quantile: float, horizon: float
) -> None:
    said = forecast(load, horizon=horizon, quantile=quantile, model=model)
    if isinstance(said, Forecast):
        assert 0 <= said.value < math.inf
        assert 0 <= said.point < math.inf
        assert said.coverage is None or 0 <= said.coverage <= 1


@pytest.mark.parametrize("model", NAMES)
@settings(max_examples=10, deadline=None)
@given(load=_loads(), one=st.floats(0.05, 0.95), other=st.floats(0.05, 0.95))
def test_a_higher_quantile_never_gives_a_lower_forecast(
    model: str, load: Series, one: float, other: float
) -> None:
    low, high = (forecast(load, horizon=60, quantile=q, model=model) for q in sorted((one, other)))
    if isinstance(low, Forecast) and isinstance(high, Forecast):
        assert low.value <= high.value
        assert low.model == high.model


@pytest.mark.parametrize("model", NAMES)
@pytest.mark.parametrize("load", [0.0, 1e-12, 0.3, 20.0, 1e300])
def test_a_constant_load_is_forecast_to_stay(model: str, load: float) -> None:
    said = _said(_series([load] * 80), model=model)
    assert said.value == pytest.approx(load, rel=1e-9)
    assert said.point == pytest.approx(load, rel=1e-9)


@pytest.mark.parametrize("model", NAMES)
@pytest.mark.parametrize("next_to_nothing", [1.0, 1e-9])
def test_changes_next_to_nothing_beside_the_highest_load_are_none(model: str, next_to_nothing: float) -> None:
    said = _said(_series([next_to_nothing, *[0.0] * 200, 1e308, *[0.0] * 80]), quantile=0.5, model=model)
    assert said.point < 1e308


@pytest.mark.parametrize("model", NAMES)
def test_the_same_series_gives_the_same_forecast(model: str) -> None:
    assert _said(_noisy(240), model=model) == _said(_noisy(240), model=model)


@pytest.mark.parametrize("model", NAMES)
def test_the_unit_of_the_load_does_not_matter(model: str) -> None:
    load = _noisy(240)
    scaled = _said(_series([v * 1000 for v in load.values]), model=model)
    assert scaled.value == pytest.approx(1000 * _said(load, model=model).value, rel=1e-6)


@pytest.mark.parametrize("model", NAMES)
def test_a_gap_is_not_read_as_an_idle_service(model: str) -> None:
    values = list(_noisy(240).values)
    holed = [GAP if 100 <= i < 130 or i % 17 == 0 else v for i, v in enumerate(values)]
    whole, torn = _said(_series(values), model=model), _said(_series(holed), model=model)
    assert torn.value == pytest.approx(whole.value, rel=0.25)
    assert torn.point > 10


def test_missing_samples_at_the_end_lengthen_the_way_to_the_horizon() -> None:
    walk = np.abs(np.cumsum(np.random.default_rng(5).normal(0, 1, 400)) + 50)
    fresh = _said(_series(walk), model="LastValue")
    stale = _said(_series([*walk, *[GAP] * 12]), model="LastValue")
    assert stale.value > fresh.value > walk[-1]


@pytest.mark.parametrize("model", NAMES)
@pytest.mark.parametrize("quantile", [0.5, 0.9])
def test_quantiles_hold_as_often_as_they_say(model: str, quantile: float) -> None:
    said = _said(_noisy(1000), quantile=quantile, model=model)
    assert said.coverage == pytest.approx(quantile, abs=0.04)


def test_noise_around_a_level_is_not_answered_with_the_last_value() -> None:
    assert _said(_noisy(480)).model in {"Level", "Ridge", "Ensemble"}


def test_a_random_walk_is_answered_with_the_last_value() -> None:
    walk = np.abs(np.cumsum(np.random.default_rng(2).normal(0, 1, 380)) + 200)
    assert _said(_series(walk), horizon=15.0).model == "LastValue"


def test_further_ahead_a_random_walk_is_as_much_wider_as_it_wanders() -> None:
    walk = np.abs(np.cumsum(np.random.default_rng(2).normal(0, 1, 130)) + 200)
    said = _said(_series(walk), horizon=600.0)
    assert said.point == pytest.approx(walk[-1], abs=1.0)
    # Forty steps: sqrt(40) * 1.28 standard deviations = 8.1.
    assert said.value - said.point == pytest.approx(8.1, rel=0.25)


def test_where_no_neighbours_are_known_errors_at_the_lead_have_to_do() -> None:
    holed = [GAP if i % 2 else 20.0 + i % 3 for i in range(239)]
    assert 20.0 <= _said(_series(holed), model="Level", horizon=300.0).value <= 24.0


def test_a_tie_goes_to_the_simplest_model() -> None:
    assert _said(_series([7.0] * 80), horizon=15.0).model == "LastValue"


def test_the_horizon_need_not_be_a_multiple_of_the_step() -> None:
    walk = _series(np.abs(np.cumsum(np.random.default_rng(2).normal(0, 1, 480)) + 200))
    asked = [forecast(walk, horizon=h, quantile=0.9) for h in (46.0, 60.0, 61.0)]
    values = [said.value for said in asked if isinstance(said, Forecast)]
    assert values[0] == values[1] != values[2]


def test_coverage_is_absent_while_too_little_has_been_seen_to_tell() -> None:
    assert _said(_noisy(60)).coverage is None
    assert _said(_noisy(240)).coverage is not None


@pytest.mark.parametrize(
    ("load", "quantile", "says"),
    [
        pytest.param(_series([]), 0.9, "0 known samples", id="nothing"),
        pytest.param(_series([GAP] * 100), 0.9, "0 known samples", id="gaps alone"),
        pytest.param(_noisy(12), 0.9, "needs more than 12", id="a few samples"),
        pytest.param(_noisy(30), 0.9, "give 14 past forecasts 60s ahead; quantile 0.9 needs 20", id="short"),
        pytest.param(_noisy(100), 0.99, "quantile 0.99 needs 99", id="a quantile too high"),
    ],
)
def test_too_short_says_what_there_is_and_what_is_needed(load: Series, quantile: float, says: str) -> None:
    said = forecast(load, horizon=60, quantile=quantile)
    assert isinstance(said, TooShort)
    assert says in said.reason


@pytest.mark.parametrize("quantile", [0.5, 0.9, 0.95, 0.99])
@pytest.mark.parametrize("horizon", [15.0, 300.0, 900.0])
def test_as_much_history_as_is_said_to_be_needed_suffices(quantile: float, horizon: float) -> None:
    short = forecast(_noisy(30), horizon=horizon, quantile=quantile)
    if isinstance(short, Forecast):
        return
    seconds = float(short.reason.split("about ")[1].split("s ")[0])
    enough = _noisy(math.ceil(seconds / 15.0) + 2)
    assert isinstance(forecast(enough, horizon=horizon, quantile=quantile), Forecast)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        pytest.param({"horizon": 0.0}, "horizon must be above 0s", id="no horizon"),
        pytest.param({"horizon": math.inf}, "horizon must be above 0s", id="endless horizon"),
        pytest.param({"quantile": 1.0}, "quantile must be between 0 and 1, got 1.0", id="certain"),
        pytest.param({"model": "ARIMA"}, "model must be one of Auto, LastValue", id="model"),
        pytest.param({"season": -1.0}, "season must be above 0s", id="season"),
    ],
)
def test_a_senseless_question_is_refused(wrong: dict[str, object], says: str) -> None:
    asked: dict[str, object] = {"horizon": 60.0, "quantile": 0.9, **wrong}
    with pytest.raises(ValueError, match=says):
        forecast(_noisy(100), **asked)  # type: ignore[arg-type]


def test_a_negative_load_is_refused() -> None:
    with pytest.raises(ValueError, match=r"series.values must be at least 0, as a load is, got -3"):
        forecast(_series([1.0, -3.0]), horizon=60, quantile=0.9)


def test_the_example_in_the_documentation_runs() -> None:
    (example,) = doctest.DocTestFinder(recurse=False).find(pdscale_forecaster)
    said: list[str] = []
    doctest.DocTestRunner(verbose=False).run(example, out=said.append)
    assert said == []

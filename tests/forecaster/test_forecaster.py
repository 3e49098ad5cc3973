"""The forecaster that is kept: it learns what is new, and is as good as one that starts again."""

import math

import numpy as np
import pytest

from pdscale_forecaster import AUTO, Forecast, Forecaster, Remembered, Series, TooShort, forecast
from pdscale_forecaster.gaps import Values
from pdscale_forecaster.models import Level

GAP = math.nan


def _load(samples: int, seed: int = 1) -> list[float]:
    return [float(v) for v in np.random.default_rng(seed).poisson(20.0, samples)]


def _said(forecaster: Forecaster, values: list[float], *, first: int = 0) -> Forecast:
    said = forecaster.forecast(Series(15.0 * first, 15.0, tuple(values[first:])))
    assert isinstance(said, Forecast)
    return said


def test_the_first_answer_is_that_of_the_pure_function() -> None:
    series = Series(0.0, 15.0, tuple(_load(240)))
    kept = Forecaster(horizon=60, quantile=0.9)
    assert kept.forecast(series) == forecast(series, horizon=60, quantile=0.9)


def test_the_same_question_twice_gets_the_same_answer() -> None:
    kept = Forecaster(horizon=60, quantile=0.9)
    assert _said(kept, _load(240)) == _said(kept, _load(240))


@pytest.mark.parametrize("model", ["LastValue", "MovingMaximum"])
def test_fed_sample_by_sample_or_at_once_it_says_the_same_where_nothing_is_fitted(model: str) -> None:
    load = _load(300)
    steadily, at_once = (Forecaster(horizon=60, quantile=0.9, model=model) for _ in range(2))
    _said(at_once, load[:200])
    for end in range(200, 300):
        _said(steadily, load[:end])
    assert _said(steadily, load) == _said(at_once, load)


def test_after_a_restart_the_answer_is_nearly_the_same() -> None:
    load = _load(700)
    kept = Forecaster(horizon=60, quantile=0.9)
    for end in range(600, 700, 5):
        _said(kept, load[:end])
    said = _said(kept, load)
    fresh = _said(Forecaster(horizon=60, quantile=0.9), load)
    assert said.value == pytest.approx(fresh.value, rel=0.1)


def test_a_window_that_slides_is_one_series() -> None:
    load = _load(400)
    kept = Forecaster(horizon=60, quantile=0.9)
    coverages = [_said(kept, load[: 240 + i], first=i).coverage for i in range(160)]
    assert coverages[-1] == pytest.approx(0.9, abs=0.06)
    # A fresh one knows 175 errors of the window, and judges fewer; this one has judged all that it made.
    assert _said(kept, load, first=160) == _said(kept, load, first=160)


def test_another_series_is_not_taken_for_the_same() -> None:
    kept = Forecaster(horizon=60, quantile=0.9)
    _said(kept, _load(240))
    later = Series(1e6 + 7.0, 15.0, tuple(v * 10 for v in _load(240, seed=2)))
    assert kept.forecast(later) == forecast(later, horizon=60, quantile=0.9)


def test_a_series_that_went_back_is_fitted_afresh() -> None:
    load = _load(300)
    kept = Forecaster(horizon=60, quantile=0.9)
    _said(kept, load)
    assert _said(kept, load[:240]) == _said(Forecaster(horizon=60, quantile=0.9), load[:240])


def test_a_gap_at_the_end_widens_the_forecast_and_its_end_is_followed_again() -> None:
    walk = [float(v) for v in np.abs(np.cumsum(np.random.default_rng(5).normal(0, 1, 400)) + 50)]
    kept = Forecaster(horizon=60, quantile=0.9, model="LastValue")
    fresh = _said(kept, walk[:300])
    stale = _said(kept, [*walk[:300], *[GAP] * 12])
    assert stale.value > fresh.value
    back = _said(kept, [*walk[:300], *[GAP] * 12, *walk[312:]])
    assert back.value < walk[-1] + (stale.value - walk[299])


def test_nothing_from_the_future_reaches_a_forecast() -> None:
    load = _load(500)
    told = [*load[:450], *[v * 50 for v in load[450:]]]
    kept = [Forecaster(horizon=60, quantile=0.9) for _ in range(2)]
    for end in range(420, 451, 10):
        assert _said(kept[0], load[:end]) == _said(kept[1], told[:end])


def test_candidates_are_all_models_and_the_choice_is_one_of_them() -> None:
    kept = Forecaster(horizon=60, quantile=0.9)
    load = _load(450)
    choice = _said(kept, load)
    models = kept.candidates(Series(0.0, 15.0, tuple(load)))
    assert not isinstance(models, TooShort)
    assert {"LastValue", "Level", "Ridge", "QuantileLines", "Boosting", "Ensemble"} <= models.keys()
    assert models[AUTO] == choice
    assert models[choice.model].value == choice.value


def test_models_that_need_more_history_are_no_candidates() -> None:
    kept = Forecaster(horizon=60, quantile=0.9)
    models = kept.candidates(Series(0.0, 15.0, tuple(_load(120))))
    assert not isinstance(models, TooShort)
    assert list(models) == [AUTO, "Level", "LastValue", "MovingMaximum", "Ridge"]


def test_on_a_short_history_the_last_value_is_times_the_quantile_of_all_past_ratios() -> None:
    load = _load(120)
    models = Forecaster(horizon=600, quantile=0.9).candidates(Series(0.0, 15.0, tuple(load)))
    assert not isinstance(models, TooShort)
    # 40 samples ahead, 80 ratios: rank 81 * 0.9 = 72.9, the 73rd.
    ratios = sorted(came / was for was, came in zip(load, load[40:], strict=False))
    assert models["LastValue"].value == pytest.approx(load[-1] * ratios[72])


def test_ten_minutes_ahead_on_half_an_hour_the_level_speaks_as_its_errors_a_sample_ahead_are_many() -> None:
    load = np.random.default_rng(3).poisson(20.0, 120).tolist()
    models = Forecaster(horizon=600, quantile=0.9).candidates(Series(0.0, 15.0, tuple(map(float, load))))
    assert not isinstance(models, TooShort)
    assert models[AUTO].model == "Level"
    # Of Poisson's 20, the 0.9-quantile is 26.
    assert models[AUTO].value == pytest.approx(26, rel=0.1)


def test_a_day_is_known_once_two_of_them_have_been_seen() -> None:
    hours = np.arange(24 * 5)
    days = tuple((100 + 80 * np.sin(hours * 2 * np.pi / 24)).tolist())
    said = forecast(Series(0.0, 3600.0, days), horizon=6 * 3600.0, quantile=0.9, model="SeasonalNaive")
    assert isinstance(said, Forecast)
    # Six hours after hour 119 is hour 125, which is hour 5 of a day.
    assert said.point == pytest.approx(100 + 80 * math.sin(5 * 2 * math.pi / 24), rel=0.02)


def test_a_tick_fits_nothing_until_a_tenth_of_the_history_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    load = _load(1300)
    kept = Forecaster(horizon=60, quantile=0.9)
    _said(kept, load[:1100])
    fits: list[int] = []
    really = Level.fit

    def counted(self: Level, values: Values) -> Level:
        fits.append(len(values))
        return really(self, values)

    monkeypatch.setattr(Level, "fit", counted)
    for end in range(1105, 1205, 5):
        _said(kept, load[:end])
    assert fits == []
    _said(kept, load[:1210])
    assert fits == [1210]


def test_a_forecast_of_a_named_model_that_breaks_its_word_says_so() -> None:
    outrun = [*_load(200), *[40.0 + i * i for i in range(120)]]
    said = _said(Forecaster(horizon=600, quantile=0.9, model="LastValue"), outrun)
    assert said.reason.startswith("LastValue switched off: ")


def test_remembered_answers_like_a_forecaster_that_is_kept_for_each_question() -> None:
    load, remembered = _load(300), Remembered()
    kept = {quantile: Forecaster(horizon=60, quantile=quantile) for quantile in (0.5, 0.9)}
    for end in range(280, 300):
        series = Series(0.0, 15.0, tuple(load[:end]))
        for quantile, forecaster in kept.items():
            assert remembered(series, horizon=60, quantile=quantile) == forecaster.forecast(series)

"""The forecast of a load series: one call from samples to a quantile at a horizon.

A load is what its last hours say, so there is nothing to train, store or warm up: every call fits
afresh, takes tens of milliseconds for hundreds of samples, and gives the same answer for the same
series. The horizon is the time from the series' end; when its last samples are missing, the forecast
reaches further from the last known one, and is as much less certain as that was in the past.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np

from pdscale_forecaster.calibration import Errors, errors, hindsight, out_of_sample, units
from pdscale_forecaster.gaps import Values
from pdscale_forecaster.losses import coverage
from pdscale_forecaster.models import LastValue, Level, Model, MovingMaximum, RidgeLags
from pdscale_forecaster.selection import best_of
from pdscale_forecaster.series import Forecast, Series, TooShort

AUTO: Final = "Auto"

# Simplest first: that order decides ties.
MODELS: Final[Mapping[str, Callable[[int, int | None], Model]]] = MappingProxyType(
    {
        "LastValue": lambda steps, _season: LastValue(steps),
        "MovingMaximum": lambda steps, _season: MovingMaximum(steps, window=max(3, steps)),
        "Level": lambda steps, _season: Level(steps),
        "Ridge": lambda steps, season: RidgeLags(steps, season=season),
    }
)

# No model says anything useful of fewer samples, and no quantile is known from fewer errors.
_WARM_UP = 12
_LEAST_ERRORS = 20

# A load that is said to reach four times the highest ever seen is a fitting accident.
_CEILING = 4.0


@dataclass(frozen=True, slots=True)
class _Question:
    """A series in units of its highest value, cut at the last known sample, and how far to look."""

    values: Values
    peak: float
    steps: int
    first: int
    quantile: float
    season: int | None

    @property
    def least_errors(self) -> int:
        """Below quantile / (1 - quantile) errors not even the worst one is high enough."""
        return max(_LEAST_ERRORS, math.ceil(self.quantile / (1 - self.quantile) - 1e-9))

    def errors_of(self, model: Model) -> Errors:
        forecasts = out_of_sample(model, self.values, first=self.first)
        return errors(self.values, forecasts, self.steps)


def forecast(
    series: Series,
    *,
    horizon: float,
    quantile: float,
    model: str = AUTO,
    season: float | None = None,
) -> Forecast | TooShort:
    """What ``series`` stays below with probability ``quantile``, ``horizon`` seconds after its end.

    ``season`` (seconds, for example 86400) is worth giving for a history of at least two of them.
    """
    _judge(series, horizon=horizon, quantile=quantile, model=model, season=season)
    asked = _question(series, horizon=horizon, quantile=quantile, season=season)
    if isinstance(asked, TooShort):
        return asked
    names = tuple(MODELS) if model == AUTO else (model,)
    models = {name: MODELS[name](asked.steps, asked.season) for name in names}
    past = {name: asked.errors_of(m) for name, m in models.items()}
    have = len(past[names[0]].origins)
    if have < asked.least_errors:
        return _too_few_errors(series, asked, have)
    name = names[0] if len(names) == 1 else best_of(past, least=_LEAST_ERRORS // 2)
    return _answer(asked, horizon=horizon, name=name, model=models[name], past=past[name])


def _answer(asked: _Question, *, horizon: float, name: str, model: Model, past: Errors) -> Forecast:
    made = model.fit(asked.values).predict(asked.values)
    unit = float(units(asked.values, made)[-1])

    def at(quantile: float) -> float:
        share = min(_CEILING, past.quantile_of(float(made[-1]), unit, quantile))
        return min(share * asked.peak, float(np.finfo(np.float64).max))

    seen = hindsight(past, (asked.quantile,), least=asked.least_errors)
    judged = len(seen.origins) >= _LEAST_ERRORS
    return Forecast(
        value=at(asked.quantile),
        point=at(0.5),
        quantile=asked.quantile,
        horizon=horizon,
        model=name,
        coverage=coverage(seen.actual, seen.forecasts[:, 0]) if judged else None,
    )


def _question(
    series: Series, *, horizon: float, quantile: float, season: float | None
) -> _Question | TooShort:
    values = np.array(series.values, dtype=np.float64)
    known = np.flatnonzero(~np.isnan(values))
    if len(known) <= _WARM_UP:
        return TooShort(f"{len(known)} known samples; a forecast needs more than {_WARM_UP} to begin with")
    last = int(known[-1])
    missing = len(values) - 1 - last
    peak = float(values[known].max()) or 1.0
    return _Question(
        values=values[: last + 1] / peak,
        peak=peak,
        steps=math.ceil(horizon / series.step - 1e-9) + missing,
        # The first quarter only teaches, as errors of models that know next to nothing mislead.
        first=max(int(known[_WARM_UP]), len(values) // 4),
        quantile=quantile,
        season=None if season is None else max(1, round(season / series.step)),
    )


def _too_few_errors(series: Series, asked: _Question, have: int) -> TooShort:
    need = asked.least_errors
    span = (max(_WARM_UP, (need + asked.steps) // 3) + asked.steps + need) * series.step
    return TooShort(
        f"{series.known} known samples over {series.end - series.start:g}s give {have} past "
        f"forecasts {asked.steps * series.step:g}s ahead; quantile {asked.quantile:g} needs {need}, "
        f"which is about {span:g}s without gaps"
    )


def _judge(series: Series, *, horizon: float, quantile: float, model: str, season: float | None) -> None:
    if not 0 < horizon < math.inf:
        raise ValueError(f"horizon must be above 0s and finite, got {horizon}s")
    if not 0 < quantile < 1:
        raise ValueError(f"quantile must be between 0 and 1, got {quantile}")
    if model != AUTO and model not in MODELS:
        raise ValueError(f"model must be one of {', '.join((AUTO, *MODELS))}, got {model!r}")
    if season is not None and not 0 < season < math.inf:
        raise ValueError(f"season must be above 0s and finite, got {season}s")
    negative = next((v for v in series.values if v < 0), None)
    if negative is not None:
        raise ValueError(f"series.values must be at least 0, as a load is, got {negative}")

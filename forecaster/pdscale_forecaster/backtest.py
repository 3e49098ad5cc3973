"""What forecasts of a series would have been worth: rolling origin, nothing from the future.

At each origin ``forecast`` is called with the samples up to it, exactly as a caller would have done
at that instant, choice of model included. It is the slow and honest yardstick; the library's own
choice of a model rests on cheaper errors of the same kind (``calibration.hindsight``).
"""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pdscale_forecaster.forecasting import AUTO, forecast
from pdscale_forecaster.losses import coverage, pinball, wape
from pdscale_forecaster.series import Forecast, Series, TooShort


@dataclass(frozen=True, slots=True)
class Backtest:
    """Losses over ``origins`` forecasts; ``pinball`` is in the series' unit, ``mean`` its mean load.

    ``chosen`` counts the origins for each model that spoke; ``too_short`` those at which none could.
    """

    quantile: float
    horizon: float
    origins: int
    pinball: float
    coverage: float
    wape: float
    mean: float
    chosen: Mapping[str, int]
    too_short: int = 0


def backtest(
    series: Series,
    *,
    horizon: float,
    quantile: float,
    model: str = AUTO,
    season: float | None = None,
    skip: float = 0.5,
    every: int = 1,
    history: float = math.inf,
) -> Backtest | TooShort:
    """Forecast from every ``every``-th known sample after the first ``skip`` share of the series.

    ``history`` (seconds) is how much of the past each forecast may see.
    """
    steps = math.ceil(horizon / series.step - 1e-9)
    keep = len(series.values) if math.isinf(history) else max(1, int(history // series.step))
    said: list[Forecast] = []
    came: list[float] = []
    too_short = 0
    for origin in range(int(skip * len(series.values)), len(series.values) - steps, every):
        actual = series.values[origin + steps]
        if math.isnan(series.values[origin]) or math.isnan(actual):
            continue
        first = max(0, origin + 1 - keep)
        seen = Series(series.start + first * series.step, series.step, series.values[first : origin + 1])
        verdict = forecast(seen, horizon=horizon, quantile=quantile, model=model, season=season)
        if isinstance(verdict, TooShort):
            too_short += 1
            continue
        said.append(verdict)
        came.append(actual)
    if not said:
        return TooShort(f"no origin could be forecast, {too_short} had too little history")
    values, actuals = np.array([f.value for f in said]), np.array(came)
    return Backtest(
        quantile=quantile,
        horizon=horizon,
        origins=len(said),
        pinball=pinball(actuals, values, quantile),
        coverage=coverage(actuals, values),
        wape=wape(actuals, np.array([f.point for f in said])),
        mean=float(actuals.mean()),
        chosen=dict(sorted(Counter(f.model for f in said).items())),
        too_short=too_short,
    )

"""What forecasts of a series would have been worth: rolling origin, nothing from the future.

A ``Forecaster`` is given the samples up to each origin, exactly as a caller would have done at that
instant, choice of model included.
"""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pdscale_forecaster.catalogue import AUTO
from pdscale_forecaster.forecaster import Forecaster
from pdscale_forecaster.losses import coverage, pinball, wape
from pdscale_forecaster.rolling import origins, rolling
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

    ``history`` (seconds) is how much of the past is given each time; the forecaster remembers its own errors.
    """
    steps = series.steps(horizon)
    forecaster = Forecaster(horizon=horizon, quantile=quantile, model=model, season=season)
    asked = origins(series, steps=steps, first=int(skip * len(series.values)), every=every)
    said: list[Forecast] = []
    came: list[float] = []
    for _, verdict, actual in rolling(series, asked, steps=steps, say=forecaster.forecast, history=history):
        if isinstance(verdict, Forecast):
            said.append(verdict)
            came.append(actual)
    too_short = len(asked) - len(said)
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

"""The forecast of a load series: one call from samples to a quantile at a horizon.

``forecast`` fits afresh, remembers nothing, and gives the same answer for the same series: up to a second for
some hundreds of samples. Who asks again and again about a series that grows keeps a ``Forecaster``, or
``Remembered``, which is called like ``forecast``.
"""

from typing import Final

from pdscale_forecaster.catalogue import AUTO, MODELS
from pdscale_forecaster.forecaster import Forecaster
from pdscale_forecaster.series import Forecast, Series, TooShort

__all__ = ["AUTO", "MODELS", "Remembered", "forecast"]

_KEPT: Final = 4


def forecast(
    series: Series,
    *,
    horizon: float,
    quantile: float,
    model: str = AUTO,
    season: float | None = None,
) -> Forecast | TooShort:
    """What ``series`` stays below with probability ``quantile``, ``horizon`` seconds after its end.

    ``season`` (seconds) is a day unless said otherwise, and used for a history of at least two of them.
    """
    return Forecaster(horizon=horizon, quantile=quantile, model=model, season=season).forecast(series)


class Remembered:
    """``forecast`` of one series that grows between calls: a forecaster for each of the last questions."""

    def __init__(self) -> None:
        self._kept: dict[tuple[float, float, str, float | None], Forecaster] = {}

    def __call__(
        self,
        series: Series,
        *,
        horizon: float,
        quantile: float,
        model: str = AUTO,
        season: float | None = None,
    ) -> Forecast | TooShort:
        question = (horizon, quantile, model, season)
        asked = self._kept.pop(question, None)
        if asked is None:
            asked = Forecaster(horizon=horizon, quantile=quantile, model=model, season=season)
        self._kept[question] = asked
        while len(self._kept) > _KEPT:
            del self._kept[next(iter(self._kept))]
        return asked.forecast(series)

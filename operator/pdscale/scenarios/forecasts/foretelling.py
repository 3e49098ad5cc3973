"""What will come: a quantile band at each lead time, from the newest known sample of a load."""

from collections.abc import Callable
from dataclasses import dataclass

from pdscale.model.units import Seconds
from pdscale.scenarios.fields import InvalidScenario
from pdscale.scenarios.forecasts.asked import Asked
from pdscale.scenarios.forecasts.reading import Load
from pdscale_forecaster import Forecast, Forecaster, TooShort


@dataclass(frozen=True, slots=True)
class Foretold:
    """At one lead time: ``high`` is the forecast at the quantile that was asked for, ``low`` is 1 less that.

    Or why nothing can be said.
    """

    lead: Seconds
    high: Forecast | TooShort
    low: float | None = None


def foretell(load: Load, asked: Asked, tell: Callable[[float], None] = lambda _: None) -> list[Foretold]:
    """``tell`` hears the share that is done."""
    found = []
    for done, lead in enumerate(asked.lead):
        found.append(_at(load, asked, lead))
        tell((done + 1) / len(asked.lead))
    return found


def forecaster(asked: Asked, lead: Seconds, quantile: float, model: str) -> Forecaster:
    try:
        return Forecaster(horizon=lead, quantile=quantile, model=model, season=asked.season)
    except ValueError as error:
        raise InvalidScenario(f"--{error}") from error


def _at(load: Load, asked: Asked, lead: Seconds) -> Foretold:
    high = forecaster(asked, lead, asked.quantile, asked.model).forecast(load.series)
    if isinstance(high, TooShort) or asked.quantile <= 0.5:
        return Foretold(lead, high)
    low = forecaster(asked, lead, 1 - asked.quantile, high.model).forecast(load.series)
    return Foretold(lead, high, None if isinstance(low, TooShort) else min(low.value, high.point))

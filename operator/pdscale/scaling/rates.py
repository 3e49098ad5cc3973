"""How many rounds per second will arrive when a decision takes effect.

Never fewer than arrive now: shedding what is in use is for the hold to decide. A load that has not changed
for long stays what it is. Else a quantile of the forecast counts, and while there is no forecast yet, a rise
that is no chance is taken to go on.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Protocol

from pdscale.model.units import Seconds
from pdscale.model.workload import NoData
from pdscale.scaling.level import RISING, Chance, Level, level_of_rate
from pdscale.scaling.mix import NOW, foreseen
from pdscale.scaling.policy import Policy
from pdscale_forecaster.series import Forecast, Series, TooShort


class Predict(Protocol):
    """A forecast of one series, as ``pdscale_forecaster.forecast`` makes it."""

    def __call__(
        self, series: Series, *, horizon: float, quantile: float, model: str
    ) -> Forecast | TooShort: ...


@dataclass(frozen=True, slots=True)
class Arrivals:
    """``present`` rounds per second, and ``ahead`` to size for; ``rising`` if more are to come than a minute
    of the present ones shows by chance, ``risen`` if more came in the last minute than in the one before."""

    present: float
    ahead: float
    rising: bool
    risen: bool
    forecast: Forecast | NoData


def arrivals(rate: Series, policy: Policy, predict: Predict, *, now: Seconds, burstiness: float) -> Arrivals:
    """``now`` seconds are looked back at least; counts scatter ``burstiness`` times as much as Poisson's."""
    level = present(rate, now)
    found = predict(rate, horizon=policy.lead_time, quantile=policy.quantile, model=policy.forecast_model)
    trend = rise(rate, level.chance, lead=policy.lead_time)
    risen = trend is not None
    if isinstance(found, TooShort):
        ahead = level.mean if trend is None else max(level.mean, trend)
        return Arrivals(level.mean, ahead, risen, risen, NoData(found.reason))
    middle = min(found.point, found.value)
    if level.steady and level.may_be(middle, window=rate.step):
        return Arrivals(level.mean, level.mean, False, risen, found)
    ahead = max(beyond_counting(found, step=rate.step, burstiness=burstiness), level.mean)
    error = math.sqrt(level.chance.variance(level.mean, NOW))
    return Arrivals(level.mean, ahead, middle > level.mean + RISING * error, risen, found)


def beyond_counting(forecast: Forecast, *, step: Seconds, burstiness: float = 1.0) -> float:
    """A forecast's quantile without what mere counting scatters, since sizing allows for that already.

    Counts of rate m in steps of d seconds have variance D m / d, with D = 1 for Poisson's; taken away in
    quadrature:

        m + sqrt((q - m)^2 - z^2 D m / d)                                                 (ours)

    4/s, 0.9-quantile 5.2/s, 15 s: 1.2^2 - 1.28^2 * 4 / 15 = 1.00 -> 5.0/s; 4.5/s instead of 5.2 -> 4/s.
    """
    middle = min(forecast.point, forecast.value)
    z = NormalDist().inv_cdf(forecast.quantile)
    spread = (forecast.value - middle) ** 2 - z * z * burstiness * middle / step
    return middle + math.sqrt(max(0.0, spread))


def rise(rate: Series, chance: Chance, *, lead: Seconds) -> float | None:
    """The rate so many seconds ahead if it goes on rising as in the last two minutes, for a minute at most;
    ``None`` where it does not rise, or by no more than chance.

    3.6/s in the last minute and 2.6/s before: 1.0 is more than 2 * sqrt(2 * 3.6 / 60) = 0.69. The minute's
    middle is 30 s ago, so 45 s ahead it is 3.6 + 1.0 * 75 / 60 = 4.9/s; 60 s ahead, and beyond, 5.1/s.
    """
    count = max(1, round(NOW / rate.step))
    halves = (rate.values[-count:], rate.values[-2 * count : -count])
    newer, older = ([v for v in half if not math.isnan(v)] for half in halves)
    if not newer or len(rate.values) < 2 * count or not older:
        return None
    after, before = math.fsum(newer) / len(newer), math.fsum(older) / len(older)
    if after - before <= RISING * math.sqrt(2 * chance.variance(after, NOW)):
        return None
    return after + (after - before) * (foreseen(lead) + NOW / 2) / NOW


def present(rate: Series, now: Seconds) -> Level:
    level = level_of_rate(rate, now=now)
    if level is None:  # nothing in the last minute: the latest that is known
        known = [v for v in rate.values if not math.isnan(v)][-1:]
        return Level(math.fsum(known), 0.0, Chance(1.0))
    return level

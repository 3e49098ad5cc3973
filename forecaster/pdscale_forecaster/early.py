"""Quantiles while errors are few: all of them count alike, and nothing is learnt of their size.

Of forecasts ``steps`` ahead one in ``steps`` shares its time with no other. A recent size with a half-life of
so many errors would be learnt from less than itself until as many of *those* have come to light; widths
that follow misses likewise, since misses come in runs. Until then: split conformal prediction (Vovk et al.,
"Algorithmic learning in a random world", 2005), the quantile of all errors. Under ``Scale.LOAD`` they are
relative to the forecast alone; for the last value that is the rule of thumb, "times the quantile of past
ratios", which is what to do while nothing better can be known.

Of errors *one* sample ahead there are ``steps`` times as many. A model that knows how its errors grow with
the lead (``Model.growth``) is as wide as these times the growth: what state-space models do with a normal
distribution, here with the quantile of what was seen. They are those of its present fit over the past.
"""

import math
from bisect import insort
from collections.abc import Sequence
from enum import Enum, auto
from typing import Final

# An error of a million times the load that was expected is "no idea" and need not be told apart.
WORST: Final = 1e6


class Scale(Enum):
    """What errors are relative to while they are few."""

    BASE = auto()  # forecast and mean load together
    LOAD = auto()  # the forecast


class Early:
    """Errors in order, each relative to what ``base`` said of its forecast."""

    def __init__(self, scale: Scale) -> None:
        self._scale = scale
        self._ordered: list[float] = []
        self._near: list[float] = []
        self._growth: float | None = None

    def base(self, forecast: float, usual: float) -> float:
        """``usual`` is forecast and mean load; it stands in where there is next to no forecast."""
        return forecast if self._scale is Scale.LOAD and forecast > usual / WORST else usual

    def learn(self, forecast: float, base: float, value: float) -> None:
        """What came at the lead."""
        insort(self._ordered, _error(forecast, base, value))

    def learn_near(self, forecast: float, base: float, value: float) -> None:
        """What came one sample ahead, which tells if it is known how errors grow."""
        if self._growth is not None:
            insort(self._near, _error(forecast, base, value))

    def relearn_near(self, values: Sequence[float], forecasts: Sequence[float], growth: float) -> None:
        """What a new fit says of the past, in the place of what was learnt; a first quarter only teaches."""
        self._near, self._growth = [], growth
        mean, seen = 0.0, 0
        for forecast, value, came in zip(forecasts, values, values[1:], strict=False):
            if math.isnan(value):
                continue
            seen += 1
            mean += (value - mean) / seen
            if 4 * seen > len(values) and not math.isnan(came):
                self._near.append(_error(forecast, self.base(forecast, usual(forecast, mean)), came))
        self._near.sort()

    def forget(self) -> None:
        """They are few no longer."""
        self._ordered.clear()
        self._near.clear()

    def at(self, quantile: float, forecast: float, base: float) -> float:
        """Errors one sample ahead are used unless gaps left less than half as many as at the lead."""
        near = self._growth is not None and 2 * len(self._near) >= len(self._ordered)
        errors, wide = (self._near, self._growth or 1.0) if near else (self._ordered, 1.0)
        middle = errors[rank(len(errors), 0.5)]
        return forecast + (middle + wide * (errors[rank(len(errors), quantile)] - middle)) * base


def usual(forecast: float, mean: float) -> float:
    """Forecast and mean load together, which errors are relative to; one where there is next to no load."""
    both = forecast + mean
    return both if both > 1 / WORST else 1.0


def _error(forecast: float, base: float, value: float) -> float:
    return min(WORST, (value - forecast) / base)


def rank(count: int, quantile: float) -> int:
    """Index of the conformal quantile among ``count`` ordered errors: 20, 0.9 -> the 19th."""
    # The small term keeps (9 + 1) * 0.9 = 9.000000000000002 from asking for the 10th of nine.
    return max(0, min(count, math.ceil((count + 1) * quantile - 1e-9)) - 1)

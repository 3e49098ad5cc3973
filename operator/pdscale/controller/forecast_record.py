"""What became of forecasts: how often the rate stayed below the quantile, and how far the middle was off.

The forecaster's own coverage is a back-test on the past that it chose its model by. This one is of the
forecasts that plans were really made from, judged when their time has come. It is kept in memory: after a
restart it begins anew, and says nothing until a first forecast has come due.
"""

import math
from array import array
from collections import deque
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from pdscale.model.units import Seconds
from pdscale.scaling.history import History
from pdscale_forecaster.series import Forecast, Series

JUDGED: Final = 200  # of the last ones; at a step of 15 s that is 50 minutes


class _Pending(NamedTuple):
    due: Seconds
    value: float
    point: float


@dataclass(slots=True)
class ForecastRecord:
    """One object's forecasts, one for each sample at most; of those judged, whether each held, its error, and
    what came, packed: hundreds of objects have one.
    """

    _pending: deque[_Pending] = field(default_factory=deque)
    _held: bytearray = field(default_factory=bytearray)
    _errors: "array[float]" = field(default_factory=lambda: array("d"))
    _came: "array[float]" = field(default_factory=lambda: array("d"))

    def note(self, forecast: Forecast, history: History) -> None:
        """A forecast that was made at the end of this history."""
        due = history.request_rate.end + forecast.horizon
        if not self._pending or due >= self._pending[-1].due + history.request_rate.step / 2:
            self._pending.append(_Pending(due, forecast.value, forecast.point))

    def judge(self, history: History) -> None:
        """Compare what has come due. What came in a gap is not known, so such a forecast is dropped."""
        rate = history.request_rate
        while self._pending and self._pending[0].due <= rate.end + rate.step / 2:
            said = self._pending.popleft()
            came = _at(rate, said.due)
            if not math.isnan(came):
                self._note_judged(came <= said.value, abs(said.point - came), came)

    @property
    def coverage(self) -> float | None:
        """Share of the judged forecasts whose quantile held; None before the first."""
        return sum(self._held) / len(self._held) if self._held else None

    @property
    def error(self) -> float | None:
        """Mean distance of the middle forecast from what came, over the mean of what came (WAPE)."""
        came = sum(self._came)
        return sum(self._errors) / came if came > 0 else None

    def _note_judged(self, held: bool, error: float, came: float) -> None:
        self._held.append(held)
        self._errors.append(error)
        self._came.append(came)
        for kept in (self._held, self._errors, self._came):
            del kept[:-JUDGED]


def _at(series: Series, instant: Seconds) -> float:
    index = round((instant - series.start) / series.step)
    return series.values[index] if 0 <= index < len(series.values) else math.nan

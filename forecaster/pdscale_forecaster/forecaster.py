"""A forecaster that is asked again and again about the same growing series, and learns only what is new.

The first question fits the models and lives through the past, which takes up to seconds; each further
one costs one forecast per model, and a refit now and then. Nothing has to be stored: a new one that is
given the history again is as good. The horizon is the time from the series' end; when its last samples are
missing, the forecast reaches further from the last known one, and is as much less certain as that was in
the past. The missing samples are rounded up to a power of two, so that a long gap costs few fits.

A series continues the last one if it has the same step, lies on the same grid, and overlaps it; anything else
is a new series, and is fitted afresh. Samples that are changed afterwards are not learnt again.
"""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pdscale_forecaster.catalogue import AUTO, MODELS, wanted
from pdscale_forecaster.gaps import Values
from pdscale_forecaster.panel import Panel
from pdscale_forecaster.selection import Choice, best_of, poor_coverage, switched_off
from pdscale_forecaster.series import Forecast, Series, TooShort
from pdscale_forecaster.threads import one_thread

Indices = NDArray[np.intp]

DAY: Final = 86400.0

# Samples by which a series may lie beside the grid of the last one.
_OFF_GRID = 1e-3

# No model says anything useful of fewer samples, and no quantile or coverage is known from fewer errors.
_WARM_UP = 12
_LEAST_ERRORS = 20

# A load that is said to reach four times the highest ever seen is a fitting accident.
_CEILING = 4.0

# Leads at a time: without a gap and with gaps of several lengths.
_PANELS = 4


class Forecaster:
    """``season`` (seconds) is a day unless said otherwise; it is used once two of them have been seen."""

    def __init__(
        self, *, horizon: float, quantile: float, model: str = AUTO, season: float | None = None
    ) -> None:
        _judge(horizon=horizon, quantile=quantile, model=model, season=season)
        self.horizon = horizon
        self.quantile = quantile
        self.model = model
        self.season = season
        self._panels: dict[int, Panel] = {}
        self._grid: Series | None = None
        self._highest = 0.0

    def forecast(self, series: Series) -> Forecast | TooShort:
        """What ``series`` stays below with probability ``quantile``, ``horizon`` seconds after its end."""
        panel = self._brought_up(series)
        return panel if isinstance(panel, TooShort) else self._chosen(panel)

    def candidates(self, series: Series) -> dict[str, Forecast] | TooShort:
        """What each model says, and as ``Auto``, who chooses among them, what ``forecast`` says."""
        panel = self._brought_up(series)
        if isinstance(panel, TooShort):
            return panel
        each = {name: self._answer(panel, Choice(name)) for name in panel.records}
        return {AUTO: self._chosen(panel), **each} if self.model == AUTO else each

    def _chosen(self, panel: Panel) -> Forecast:
        if self.model == AUTO:
            return self._answer(panel, best_of(panel.records))
        share = poor_coverage(panel.records[self.model])
        return self._answer(
            panel, Choice(self.model, "" if share is None else switched_off(self.model, share))
        )

    def _brought_up(self, series: Series) -> Panel | TooShort:
        """The panel of the present lead, having seen all of ``series``."""
        values = np.array(series.values, dtype=np.float64)
        _refuse_negative(values)
        known = np.flatnonzero(~np.isnan(values))
        if len(known) <= _WARM_UP:
            return TooShort(
                f"{len(known)} known samples; a forecast needs more than {_WARM_UP} to begin with"
            )
        at = self._index_of(series)
        last = int(known[-1])
        self._highest = max(self._highest, float(values[known].max()))
        steps = series.steps(self.horizon) + _rounded_up(len(values) - 1 - last)
        panel = self._panels.pop(steps, None)
        with one_thread():
            if panel is None or not at <= panel.end <= at + last:
                panel = self._panel(values[: last + 1], known, at=at, steps=steps, step=series.step)
            elif panel.end < at + last:
                panel.follow(values[: last + 1], at=at)
        self._panels[steps] = panel
        while len(self._panels) > _PANELS:
            del self._panels[next(iter(self._panels))]
        have = min(record.errors for record in panel.records.values())
        return panel if have >= self._least_errors else self._too_few_errors(series, steps, have)

    def _index_of(self, series: Series) -> int:
        """Where ``series`` begins, counted from the first one; all is forgotten for another."""
        grid = self._grid
        if grid is not None and math.isclose(grid.step, series.step):
            index = (series.start - grid.start) / grid.step
            if abs(index - round(index)) < _OFF_GRID:
                return round(index)
        self._panels.clear()
        self._highest = 0.0
        self._grid = Series(series.start, series.step, ())
        return 0

    def _panel(self, values: Values, known: Indices, *, at: int, steps: int, step: float) -> Panel:
        season = max(1, round((self.season or DAY) / step))
        enough = self.season is not None or len(values) >= 2 * season + steps
        used = season if enough else None
        return Panel(
            wanted(self.model, steps, used, known=len(known)),
            values,
            at=at,
            steps=steps,
            season=used,
            # The first quarter only teaches, as errors of models that know next to nothing mislead.
            first=max(int(known[_WARM_UP]), len(values) // 4),
            quantile=self.quantile,
            least=self._least_errors,
        )

    def _answer(self, panel: Panel, choice: Choice) -> Forecast:
        record = panel.records[choice.name]
        said = record.last
        if said is None:
            raise RuntimeError(f"{choice.name} said nothing of a known sample")

        def at(quantile: float) -> float:
            share = min(_CEILING * self._highest / panel.peak, record.at(quantile, said))
            return min(share * panel.peak, float(np.finfo(np.float64).max))

        return Forecast(
            value=at(self.quantile),
            point=at(0.5),
            quantile=self.quantile,
            horizon=self.horizon,
            model=choice.name,
            coverage=record.verdict.coverage() if record.verdict.judged >= _LEAST_ERRORS else None,
            reason=choice.reason,
        )

    @property
    def _least_errors(self) -> int:
        """Below quantile / (1 - quantile) errors not even the worst one is high enough."""
        return max(_LEAST_ERRORS, math.ceil(self.quantile / (1 - self.quantile) - 1e-9))

    def _too_few_errors(self, series: Series, steps: int, have: int) -> TooShort:
        need = self._least_errors
        span = (max(_WARM_UP, (need + steps) // 3) + steps + need) * series.step
        return TooShort(
            f"{series.known} known samples over {series.end - series.start:g}s give {have} past "
            f"forecasts {steps * series.step:g}s ahead; quantile {self.quantile:g} needs {need}, "
            f"which is about {span:g}s without gaps"
        )


def _rounded_up(missing: int) -> int:
    """The next power of two; none stays none."""
    return 0 if missing == 0 else 1 << (missing - 1).bit_length()


def _refuse_negative(values: Values) -> None:
    below = np.flatnonzero(values < 0)
    if len(below):
        raise ValueError(f"series.values must be at least 0, as a load is, got {values[below[0]]:g}")


def _judge(*, horizon: float, quantile: float, model: str, season: float | None) -> None:
    if not 0 < horizon < math.inf:
        raise ValueError(f"horizon must be above 0s and finite, got {horizon}s")
    if not 0 < quantile < 1:
        raise ValueError(f"quantile must be between 0 and 1, got {quantile}")
    if model != AUTO and model not in MODELS:
        raise ValueError(f"model must be one of {', '.join((AUTO, *MODELS))}, got {model!r}")
    if season is not None and not 0 < season < math.inf:
        raise ValueError(f"season must be above 0s and finite, got {season}s")

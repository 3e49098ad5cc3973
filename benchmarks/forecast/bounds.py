"""What could be had at most on one series: hindsight on the very part that is judged, and other parts.

A goal that no forecaster can reach on a series is told from one that ours misses by what can be had with
knowledge that a forecaster never has. All figures are percent of pinball(0.9) below *last value*:

one ratio, a ratio a day   the last value times the ratio that fits the judged part, or each of its days, best
known size                 Gaussian changes around the last value, whose standard deviation in the three hours
                           around each instant, future included, is known. 0.1755 sigma is the loss of its
                           0.9-quantile (integral of the pinball loss over a normal density)
lines, fitted on it        the 0.9-quantile as a line in all columns of the forecaster's regressions, with no
                           penalty, fitted to the judged part itself: no line in these columns does better
trees, fitted around it    boosted trees on the same columns for each two hours of the judged part, fitted to
                           all the rest of the series, its future included
counting                   the loss that remains if only Poisson counts of a window scattered

The same forecaster is judged on other parts too: of the first half its second part, and the last three
sevenths of the series, the share that the study behind the goals took of a fortnight.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import QuantileRegressor

from benchmarks.forecast.cases import Case
from benchmarks.forecast.scores import BARE, LAST, QUANTILE, by_ratios, judged
from benchmarks.rows import Row
from pdscale_forecaster import AUTO
from pdscale_forecaster.gaps import Values
from pdscale_forecaster.losses import pinball
from pdscale_forecaster.models.columns import columns
from pdscale_forecaster.threads import one_thread

Indices = NDArray[np.intp]

_DAY: Final = 86400.0
_AROUND: Final = 3 * 3600.0
_BLOCK: Final = 2 * 3600.0
_GAUSSIAN: Final = 0.1755


@dataclass(frozen=True, slots=True)
class Hindsight:
    """Pinball losses over that of the yardstick on the second half of a case."""

    case: Case

    def rows(self) -> Iterator[Row]:
        config = f"{self.case.name}, {self.case.lead:g} s ahead, {len(self._origins)} origins"
        for what, share in self._shares():
            yield Row(f"in hindsight: {what}", 100 * (1 - share), "% below last value", config)

    def _shares(self) -> Iterator[tuple[str, float]]:
        last, came = self._last, self._came
        whole = pinball(came, self._yardstick, QUANTILE)
        yield "one ratio", _best_ratio(last, came) / whole
        day = round(_DAY / self.case.series.step)
        parts = np.array_split(np.arange(len(came)), max(1, round(len(came) / day)))
        yield (
            "a ratio a day",
            sum(_best_ratio(last[p], came[p]) * len(p) for p in parts) / len(came) / whole,
        )
        yield "known size", _GAUSSIAN * float(self._local_sizes().mean()) / whole
        yield "lines, fitted on it", self._lines() / whole
        yield "trees, fitted around it", self._trees() / whole
        window = self.case.series.step
        yield "only counts scatter", _GAUSSIAN * float(np.sqrt(came / window).mean()) / whole

    @property
    def _origins(self) -> Indices:
        return np.array(self.case.origins(), dtype=np.intp)

    @property
    def _last(self) -> Values:
        return np.array([self.case.series.values[i] for i in self._origins])

    @property
    def _came(self) -> Values:
        return np.array([self.case.series.values[i + self.case.steps] for i in self._origins])

    @property
    def _yardstick(self) -> Values:
        origins = self._origins.tolist()
        said = by_ratios(dict(enumerate(self.case.series.values)), self.case, origins)
        return np.array([said[i] for i in origins])

    def _local_sizes(self) -> Values:
        """Root mean square change in the hours around each origin."""
        squares = (self._came - self._last) ** 2
        reach = round(_AROUND / self.case.series.step / 2)
        return np.array(
            [np.sqrt(squares[max(0, i - reach) : i + reach + 1].mean()) for i in range(len(squares))]
        )

    def _table(self) -> tuple[Values, Values, Values, float]:
        """Columns, the change of the logarithm that followed, logarithms, and their scale."""
        values = np.array(self.case.series.values)
        scale, steps = float(np.nanmean(values)), self.case.steps
        found, logs = columns(values, scale, steps=steps, season=round(_DAY / self.case.series.step))
        change = np.full(len(values), np.nan)
        change[:-steps] = np.log1p(values[steps:] / scale) - logs[:-steps]
        return found, change, logs, scale

    def _loss(self, change: Values, logs: Values, scale: float) -> float:
        said = np.maximum(0.0, np.expm1(logs[self._origins] + change)) * scale
        return pinball(self._came, said, QUANTILE)

    def _lines(self) -> float:
        found, change, logs, scale = self._table()
        spread = found.std(axis=0)
        rows = ((found - found.mean(axis=0)) / np.where(spread > 0, spread, 1.0))[self._origins]
        line = QuantileRegressor(quantile=QUANTILE, alpha=0.0).fit(rows, change[self._origins])
        return self._loss(line.predict(rows), logs, scale)

    def _trees(self) -> float:
        found, change, logs, scale = self._table()
        origins = self._origins
        known = np.flatnonzero(~np.isnan(change))
        said = np.empty(len(origins))
        parts = max(2, round(len(origins) * self.case.series.step / _BLOCK))
        for part in np.array_split(np.arange(len(origins)), parts):
            first, after = origins[part[0]] - self.case.steps, origins[part[-1]] + self.case.steps
            rest = known[(known < first) | (known > after)]
            trees = HistGradientBoostingRegressor(
                loss="quantile",
                quantile=QUANTILE,
                max_iter=60,
                learning_rate=0.06,
                max_leaf_nodes=6,
                random_state=0,
            )
            with one_thread():
                said[part] = trees.fit(found[rest], change[rest]).predict(found[origins[part]])
        return self._loss(said, logs, scale)


def other_parts(case: Case) -> Iterator[Row]:
    """The forecaster on what is not reported elsewhere: the goal's figure is one of days as well."""
    early = case.first_half()
    samples = len(case.series.values)
    late = [i for i in case.origins() if i >= samples - samples * 3 // 7]
    for what, part, origins in (
        ("second quarter of it", early, list(early.origins())),
        ("last three sevenths of it", case, late),
    ):
        result = judged(part, origins=origins)
        config = f"{case.name}, {case.lead:g} s ahead, {what}, {result.origins} origins"
        for name in (AUTO, BARE):
            if name in result.scores:
                gain = 100 * (1 - result.ratio(name))
                yield Row(f"{name} on other days", gain, "% below last value", config)
        yield Row(
            f"{LAST}: share of its 0.9-quantiles that held", result.scores[LAST].coverage, "share", config
        )


def _best_ratio(last: Values, came: Values) -> float:
    """The least loss that any one ratio has: at the quantile of the ratios, weighed by the last values."""
    order = np.argsort(came / last)
    weights = np.cumsum(last[order])
    best = order[np.searchsorted(weights, QUANTILE * weights[-1])]
    return pinball(came, last * came[best] / last[best], QUANTILE)


EXPLAINED: Final = f"""What could be had at most, with knowledge that no forecaster has, in percent of
pinball(0.9) below *{LAST}* on the second half; and what ours has on other days. *Lines* are fitted to the
judged half itself, *trees* to all the rest of the week, its future included. A goal above all of these is
out of reach: what the series tells does not suffice for it, however it is learnt. *Only counts scatter* is no
such bound; it says that the load itself jumps, and not the counting of it.
"""

"""All models of one series at one lead: fits, records, and how they follow the series sample by sample.

Loads are in units of the highest seen when the panel was made, so that no load is too large to be
squared. ``at`` is everywhere the index of an array's first sample in its owner's count. At the making,
errors of the past are those of models that were fitted to earlier samples only, fold by fold; from then on
they are those of forecasts that were really made.
"""

from collections.abc import Iterator, Mapping
from itertools import pairwise

import numpy as np

from pdscale_forecaster.calibration import Record
from pdscale_forecaster.early import Scale
from pdscale_forecaster.gaps import Values
from pdscale_forecaster.models import Ensemble, Model

# Models are refitted that many times while looking for out-of-sample errors.
_FOLDS = 4

# Instants that are lived through again when a panel is made: enough for every quantile up to 0.999.
_RELIVED = 2500

# A refit after a tenth of the history, and at least once in so many samples: a day of minutes.
_REFIT_SHARE = 10
_REFIT_AT_MOST = 1440


class Panel:
    """``models`` by name, simplest first; ``first`` is the first index worth forecasting from."""

    def __init__(
        self,
        models: Mapping[str, Model | Ensemble],
        values: Values,
        *,
        at: int,
        steps: int,
        season: int | None,
        first: int,
        quantile: float,
        least: int,
    ) -> None:
        self.peak = float(np.nanmax(values)) or 1.0
        self.end = at + len(values) - 1
        self._whole = season or 1
        self._models = {name: m for name, m in models.items() if isinstance(m, Model)}
        self._joint = {name: m for name, m in models.items() if isinstance(m, Ensemble)}
        scaled = values / self.peak
        start = max(first, len(values) - _RELIVED)
        before = scaled[:start][~np.isnan(scaled[:start])]
        self.records = {
            name: Record(
                steps, quantile, least=least, mean=float(before.mean()), seen=len(before), scale=model.scale
            )
            for name, model in models.items()
        }
        for name, model in self._models.items():
            if model.scale is Scale.LOAD:
                self.records[name].recall(scaled[:start].tolist(), model.predict(scaled[:start]).tolist())
        for begin, end in _folds(start, len(values) - 1):
            self._fit(scaled[:begin], at=at, new=0)
            self._live(
                scaled[begin:end], {n: m.predict(scaled[:end])[begin:] for n, m in self._models.items()}
            )
        self._fit(scaled, at=at, new=1)
        self._live(scaled[-1:], {name: m.predict(scaled)[-1:] for name, m in self._models.items()})

    def follow(self, values: Values, *, at: int) -> None:
        """``values`` overlap what was seen, and end with a known sample."""
        scaled = values / self.peak
        new = at + len(values) - 1 - self.end
        self._since += new
        if self._since >= self._due:
            self._fit(scaled, at=at, new=new)
        said = {name: self._said(m, scaled, new, at=at) for name, m in self._models.items()}
        self._live(scaled[-new:], said)
        self.end += new

    def _said(self, model: Model, scaled: Values, new: int, *, at: int) -> Values:
        """Forecasts from the last ``new`` samples, looking back no further than the model does."""
        cut = max(0, len(scaled) - new - model.reach)
        # Models count the phase of the season from where their fit began.
        cut -= (at + cut - self._fitted_at) % self._whole
        tail = scaled[cut:] if cut >= 0 else np.concatenate([np.full(-cut, np.nan), scaled])
        return model.predict(tail)[-new:]

    def _fit(self, scaled: Values, *, at: int, new: int) -> None:
        """The last ``new`` samples have not been lived through."""
        for name, model in self._models.items():
            self._models[name] = model.anew().fit(scaled)
            self._relearn(name, scaled[: len(scaled) - new][-_RELIVED:])
        self._fitted_at = at
        self._since = 0
        self._due = min(_REFIT_AT_MOST, max(1, len(scaled) // _REFIT_SHARE))

    def _relearn(self, name: str, past: Values) -> None:
        growth, record = self._models[name].growth, self.records[name]
        if growth is not None and not record.adapts:
            record.relearn(past.tolist(), self._models[name].predict(past).tolist(), growth)

    def _live(self, values: Values, said: dict[str, Values]) -> None:
        every = said | {name: joint.combine(said) for name, joint in self._joint.items()}
        for name, record in self.records.items():
            for value, forecast in zip(values.tolist(), every[name].tolist(), strict=True):
                record.step(value, forecast)


def _folds(first: int, end: int) -> Iterator[tuple[int, int]]:
    """Begins and ends of what models live through that were fitted to all before."""
    edges = np.linspace(first, end, _FOLDS + 1).astype(int).tolist()
    return ((begin, last) for begin, last in pairwise(edges) if begin < last)

"""The series that forecasters are judged on, from other people's traces in the project's schemas.

A rate file gives windows of ten minutes, and its shortest lead is one of them. A request trace is binned: to
minutes, or to 15 s, as the operator samples, where it is too short for minutes to tell anything. Three
series of each: requests, input tokens to compute and output tokens, per second.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from pdscale.workload.load import load_rates, load_trace
from pdscale.workload.trace import TimeBase, Trace
from pdscale_forecaster import Series
from pdscale_forecaster.rolling import origins

RATES: Final = "rates_*.csv.gz"
TRACES: Final = ("azure*_conv.csv.gz", "mooncake_*.csv.gz", "requests_*.csv.gz")

# Two hours of minutes are too few to learn from and to judge by.
_SHORT = 7200.0
_BIN, _SHORT_BIN = 60.0, 15.0
_DAY = 86400.0


@dataclass(frozen=True, slots=True)
class Case:
    """A series to be forecast ``lead`` seconds ahead; ``half`` is the first index that is reported on."""

    name: str
    series: Series
    lead: float

    @property
    def steps(self) -> int:
        return self.series.steps(self.lead)

    @property
    def half(self) -> int:
        return len(self.series.values) // 2

    def first_half(self) -> "Case":
        values = self.series.values[: self.half]
        return replace(self, series=replace(self.series, values=values))

    @property
    def two_days(self) -> bool:
        """Two days of history lie before the first forecast that is reported."""
        return self.half * self.series.step >= 2 * _DAY

    def thinned(self, every: int) -> int:
        """Minutes are judged at ``every``-th origin, shorter and longer windows at all."""
        return every if self.series.step == _BIN else 1

    def origins(self, every: int = 1) -> Sequence[int]:
        """Indices of known samples of the second half whose future is known too."""
        return origins(self.series, steps=self.steps, first=self.half, every=every)


def cases(folder: Path, leads: Sequence[float], only: str = "") -> Iterator[Case]:
    """Of every file in ``folder`` whose series' names contain ``only``; a lead is at least one window."""
    for path in sorted(folder.glob(RATES)):
        yield from _with_leads(_of_rates(path), leads, only)
    for pattern in TRACES:
        for path in sorted(folder.glob(pattern)):
            if only.partition(":")[0] in _stem(path):
                yield from _with_leads(_of_requests(path), leads, only)


def _with_leads(named: Iterable[tuple[str, Series]], leads: Sequence[float], only: str) -> Iterator[Case]:
    for name, series in named:
        if only in name:
            for lead in sorted({max(lead, series.step) for lead in leads}):
                yield Case(name, series, lead)


def _of_rates(path: Path) -> Iterator[tuple[str, Series]]:
    rates = load_rates(path)
    requests = np.array(rates.rate)
    step = float(rates.window[0])
    if not np.allclose(np.diff(rates.at), step):
        raise ValueError(f"{path.name}: windows must follow each other every {step:g} s")
    signals = {"requests": requests, "input": requests * rates.prompt, "output": requests * rates.output}
    for signal, values in signals.items():
        if not np.isnan(values).all():
            yield f"{_stem(path)}:{signal}", Series(0.0, step, tuple(values.tolist()))


def _of_requests(path: Path) -> Iterator[tuple[str, Series]]:
    trace = load_trace(path, time_base=TimeBase.TRACE)
    step = _SHORT_BIN if trace.span < _SHORT else _BIN
    yield f"{_stem(path)}:requests", binned(trace, np.ones(len(trace)), step)
    new = np.array(trace.prompt, dtype=np.float64) - np.maximum(0.0, np.array(trace.cached))
    for signal, tokens in (("input", new), ("output", np.array(trace.output, dtype=np.float64))):
        yield f"{_stem(path)}:{signal}", binned(trace, np.maximum(0.0, tokens), step)


def binned(trace: Trace, weights: "np.ndarray[tuple[int], np.dtype[np.float64]]", step: float) -> Series:
    """``weights`` per second in bins of ``step``; the last bin is left out, as the trace may not fill it."""
    at = np.array(trace.at)
    bins = int(at.max() // step)
    sums = np.histogram(at, bins=np.arange(bins + 1) * step, weights=weights)[0]
    return Series(0.0, step, tuple((sums / step).tolist()))


def _stem(path: Path) -> str:
    return path.name.removesuffix(".csv.gz")

"""Rate series: requests per second in consecutive windows, with mean lengths where the source has them.

timestamp_s, window_s, requests_per_s            needed
mean_input_tokens, mean_output_tokens            tokens per request
input_tokens_per_s, output_tokens_per_s          the same as a rate; used where there are no means
gap                                              0 measured; 1 or 2 missing or doubtful: no data, not idle
"""

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from pdscale.model.units import Seconds
from pdscale.perf.table import Table, TableError

NEEDED: Final = ("timestamp_s", "window_s", "requests_per_s")


@dataclass(frozen=True, slots=True)
class RateSeries:
    """Windows in order of time. ``rate`` is NaN where there is no data, as are unknown mean lengths."""

    source: str
    at: "array[float]"
    window: "array[float]"
    rate: "array[float]"
    prompt: "array[float]"
    output: "array[float]"

    def __len__(self) -> int:
        return len(self.at)

    def excerpt(self, *, start: Seconds, stop: Seconds) -> "RateSeries":
        """Windows that begin in [start, stop), moved to begin at 0."""
        rows = [i for i, t in enumerate(self.at) if start <= t < stop]
        if not rows:
            raise ValueError(f"rates {self.source}: no window begins in {start}..{stop} s")

        def taken(column: "array[float]") -> "array[float]":
            return array("d", map(column.__getitem__, rows))

        return replace(
            self,
            at=array("d", (self.at[i] - self.at[rows[0]] for i in rows)),
            window=taken(self.window),
            rate=taken(self.rate),
            prompt=taken(self.prompt),
            output=taken(self.output),
        )

    def scaled(self, factor: float) -> "RateSeries":
        """``factor`` times the rate in every window."""
        if not 0 < factor < math.inf:
            raise ValueError(f"factor must be above 0 and finite, got {factor}")
        return replace(self, rate=array("d", (r * factor for r in self.rate)))


def read_rates(table: Table) -> RateSeries:
    """Parse a rate table; windows must follow each other without overlap."""
    table.require(*NEEDED)
    if not len(table):
        raise TableError(f"{table.source}: holds no window")
    at = table.floats("timestamp_s")
    window = table.floats("window_s", least=1e-9)
    for i in range(1, len(at)):
        if at[i] < at[i - 1] + window[i - 1] - 1e-6:
            end = at[i - 1] + window[i - 1]
            raise table.wrong(i, "timestamp_s", f"at least {end:g}, the end of the window before")
    rate = table.floats("requests_per_s", unknown=math.nan)
    if "gap" in table:
        rate = array("d", (math.nan if g else r for g, r in zip(table.integers("gap"), rate, strict=True)))
    prompt, output = (_lengths(table, name, rate) for name in ("input", "output"))
    return RateSeries(table.source, at, window, rate, prompt, output)


def _lengths(table: Table, which: str, rate: Sequence[float]) -> "array[float]":
    if f"mean_{which}_tokens" in table:
        return table.floats(f"mean_{which}_tokens", unknown=math.nan)
    if f"{which}_tokens_per_s" in table:
        totals = table.floats(f"{which}_tokens_per_s", unknown=math.nan)
        return array("d", (t / r if r > 0 else math.nan for t, r in zip(totals, rate, strict=True)))
    return array("d", [math.nan]) * len(table)

"""From what the metrics server said to numbers, without ever inventing one.

Values come as strings, ``NaN`` and ``+Inf`` among them: both say that nothing is known (a division
by zero, mostly). A missing series or sample says the same. None of that is zero. An answer that
cannot be what was asked for is refused as a whole: a scaling decision on half an answer is worse
than none.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pdscale.model.units import Seconds
from pdscale.prom.errors import MetricsUnavailable
from pdscale.prom.queries import MEASURE
from pdscale_forecaster.series import Series

# More is refused by the server itself.
_MOST_SAMPLES = 11_000

# Instants come back as they were asked for, up to milliseconds.
_SAME_INSTANT: Seconds = 0.002


@dataclass(frozen=True, slots=True)
class Grid:
    """Instants ``start + i * step``; multiples of ``step``, so that one tick's grid fits the next."""

    start: Seconds
    step: Seconds
    samples: int

    @classmethod
    def ending(cls, now: Seconds, *, window: Seconds, step: Seconds) -> "Grid":
        """The instants of the last ``window`` seconds, the newest not after ``now``."""
        if step < 1 or not float(step).is_integer():
            raise ValueError(f"step must be a whole number of seconds, at least 1, got {step}s")
        samples = math.floor(window / step)
        if not 1 <= samples <= _MOST_SAMPLES:
            raise ValueError(f"window must hold 1 to {_MOST_SAMPLES} steps of {step}s, got {window}s")
        last = math.floor(now / step) * step
        return cls(float(last - (samples - 1) * step), float(step), samples)

    @property
    def end(self) -> Seconds:
        return self.start + (self.samples - 1) * self.step


def by_measure(result: Any, grid: Grid, measures: Iterable[str]) -> dict[str, Series]:
    """A series for each of ``measures``; those that the answer does not mention are all gaps."""
    found: dict[str, Series] = {}
    for series in _list(result):
        measure = _member(_member(series, "metric"), MEASURE)
        if measure in found:
            raise _malformed(f"two series for {measure!r} where one was asked for")
        found[measure] = _on(grid, _list(_member(series, "values")))
    unknown = [Series(grid.start, grid.step, (math.nan,) * grid.samples)]
    return {measure: found.get(measure, unknown[0]) for measure in measures}


def single(result: Any) -> float | None:
    """The only value of an instant query; None when there is no series, or no number in it."""
    vector = _list(result)
    if not vector:
        return None
    if isinstance(vector[0], dict):
        if len(vector) > 1:
            raise _malformed(f"{len(vector)} series where one was asked for")
        vector = _list(_member(vector[0], "value"))
    value = _sample(vector)[1]
    return None if math.isnan(value) else value


def _on(grid: Grid, samples: list[Any]) -> Series:
    values = [math.nan] * grid.samples
    taken: set[int] = set()
    for instant, value in map(_sample, samples):
        index = round((instant - grid.start) / grid.step)
        off = abs(instant - grid.start - index * grid.step)
        if off > _SAME_INSTANT or not 0 <= index < grid.samples:
            raise _malformed(f"a sample at {instant:.3f}, which was not asked for")
        if index in taken:
            raise _malformed(f"two samples at {instant:.3f}")
        taken.add(index)
        values[index] = value
    return Series(grid.start, grid.step, tuple(values))


def _sample(pair: Any) -> tuple[Seconds, float]:
    if not isinstance(pair, list) or len(pair) != 2:
        raise _malformed(f"a sample must be [time, value], got {pair!r:.80}")
    try:
        instant, value = float(pair[0]), float(pair[1])
    except (TypeError, ValueError) as error:
        raise _malformed(f"a sample must hold numbers, got {pair!r:.80}") from error
    if not math.isfinite(instant):
        raise _malformed(f"a sample must have a time, got {pair!r:.80}")
    return instant, value if math.isfinite(value) else math.nan


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise _malformed(f"a list was expected, got {value!r:.80}")
    return value


def _member(value: Any, key: str) -> Any:
    if not isinstance(value, dict) or key not in value:
        raise _malformed(f"an object with {key!r} was expected, got {value!r:.80}")
    return value[key]


def _malformed(what: str) -> MetricsUnavailable:
    return MetricsUnavailable(f"malformed answer: {what}", retry_helps=False)

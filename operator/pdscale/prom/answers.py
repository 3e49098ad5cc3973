"""From what the metrics server said to numbers, without ever inventing one.

Values come as strings, ``NaN`` and ``+Inf`` among them: both say that nothing is known (a division
by zero, mostly). A missing series or sample says the same. None of that is zero. An answer that
cannot be what was asked for is refused as a whole: a scaling decision on half an answer is worse
than none. Samples may come in any order, since each carries its instant.
"""

import math
from array import array
from collections.abc import Iterable
from typing import Any, Final, TypeAlias

from pdscale.model.units import Seconds
from pdscale.prom.errors import MetricsUnavailable
from pdscale.prom.grid import Grid
from pdscale.prom.queries import MEASURE

# Instants come back as they were asked for, up to milliseconds.
_SAME_INSTANT: Final[Seconds] = 0.002

Column: TypeAlias = "array[float]"


def unknown(samples: int) -> Column:
    return array("d", [math.nan]) * samples


def by_measure(result: Any, grid: Grid, measures: Iterable[str]) -> dict[str, Column]:
    """A column for each of ``measures``; those that the answer does not mention are all gaps."""
    found: dict[str, Column] = {}
    for series in _list(result):
        measure = _member(_member(series, "metric"), MEASURE)
        if measure in found:
            raise _malformed(
                f"two series for {measure!r} where one was asked for; aggregate them in the query"
            )
        found[measure] = _on(grid, _list(_member(series, "values")))
    return {measure: found.get(measure) or unknown(grid.samples) for measure in measures}


def only(result: Any, grid: Grid) -> Column:
    """The column of a query that gives one series, or none."""
    series = _list(result)
    if len(series) > 1:
        raise _malformed(f"{len(series)} series where one was asked for; aggregate them in the query")
    return _on(grid, _list(_member(series[0], "values"))) if series else unknown(grid.samples)


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


def by_label(result: Any, label: str) -> dict[str, float]:
    """Values of an instant query by one label; series without it, or without a number, are left out."""
    found = {}
    for series in _list(result):
        labels = _member(series, "metric")
        value = _sample(_list(_member(series, "value")))[1]
        if isinstance(labels, dict) and label in labels and not math.isnan(value):
            found[str(labels[label])] = value
    return found


def _on(grid: Grid, samples: list[Any]) -> Column:
    values = unknown(grid.samples)
    taken = bytearray(grid.samples)
    for instant, value in map(_sample, samples):
        index = round((instant - grid.start) / grid.step)
        off = abs(instant - grid.start - index * grid.step)
        if off > _SAME_INSTANT or not 0 <= index < grid.samples:
            raise _malformed(f"a sample at {instant:.3f}, which was not asked for")
        if taken[index]:
            raise _malformed(f"two samples at {instant:.3f}")
        taken[index] = True
        values[index] = value
    return values


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

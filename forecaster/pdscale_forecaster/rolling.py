"""Rolling origin: at each instant of the past only what was known then, and what came afterwards.

Everything that judges forecasts walks this way, so that two figures of one series are of the same instants.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from pdscale_forecaster.series import Series

T = TypeVar("T")


def origins(series: Series, *, steps: int, first: int, every: int = 1) -> list[int]:
    """Indices of every ``every``-th sample from ``first`` on that is known, as is the one ``steps`` later."""
    values = series.values
    wanted = range(first, len(values) - steps, every)
    return [i for i in wanted if not (math.isnan(values[i]) or math.isnan(values[i + steps]))]


def rolling(
    series: Series,
    at: Sequence[int],
    *,
    steps: int,
    say: Callable[[Series], T],
    history: float = math.inf,
) -> Iterator[tuple[int, T, float]]:
    """(origin, what ``say`` says of the last ``history`` seconds up to it, what came), origin by origin."""
    keep = len(series.values) if math.isinf(history) else max(1, int(history // series.step))
    for origin in at:
        first = max(0, origin + 1 - keep)
        seen = Series(series.start + first * series.step, series.step, series.values[first : origin + 1])
        yield origin, say(seen), series.values[origin + steps]

"""What a forecaster remembers when it has seen a day, which no run of minutes shows."""

import gc
import random
import tracemalloc
from collections.abc import Sequence
from typing import Final

from pdscale_forecaster import Remembered
from pdscale_forecaster.series import Series

STEP: Final = 15.0
HISTORY: Final = 120  # samples that each forecast is made from: half an hour
TEN_MINUTES: Final = 40  # samples, after which the operator is measured at rest
TEN_HOURS: Final = 2400  # samples: records are full after eight hours
_COUNT: Final = 3
_LARGE: Final = 2**18  # bytes; larger are only tables of the interpreter, made anew at some moment of its own


def growth_mib(objects: int) -> float:
    """What that many forecasters hold after a day, less what they hold after ten minutes."""
    load = random.Random(1)
    rates = [9 + load.gauss(0, 1) for _ in range(HISTORY + TEN_HOURS)]
    _feed([Remembered()], rates, 0, TEN_HOURS)  # what the first one loads, for all
    forecasters = [Remembered() for _ in range(_COUNT)]
    tracemalloc.start()
    try:
        _feed(forecasters, rates, 0, TEN_MINUTES)
        young = _held()
        _feed(forecasters, rates, TEN_MINUTES, TEN_HOURS)
        return (_held() - young) / _COUNT * objects / 2**20
    finally:
        tracemalloc.stop()


def _held() -> int:
    gc.collect()
    return sum(trace.size for trace in tracemalloc.take_snapshot().traces if trace.size < _LARGE)


def _feed(forecasters: Sequence[Remembered], rates: Sequence[float], first: int, end: int) -> None:
    for at in range(first, end):
        series = Series(at * STEP, STEP, tuple(rates[at : at + HISTORY]))
        for each in forecasters:
            each(series, horizon=3 * STEP, quantile=0.9, model="Auto")

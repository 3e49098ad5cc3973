"""What forecasts cost: fourteen days of minutes, processor time of one thread of control.

Processor time and not the clock's, since others share the machine; the median of ticks, and the worst.
"""

import time
from collections.abc import Callable
from statistics import median

import numpy as np

from benchmarks.rows import Goal, Row
from pdscale_forecaster import Forecaster, Series, forecast

_DAYS, _STEP = 14, 60.0
_TICKS = 120


def measured() -> list[Row]:
    load = _load()
    samples = len(load)
    forecaster = Forecaster(horizon=300, quantile=0.9)
    config = f"{_DAYS} days at {_STEP:g} s, all models, 5 min ahead"
    fit = _seconds(lambda: forecaster.forecast(_until(load, samples - _TICKS - 1)))
    ticks = [
        _seconds(lambda end=end: forecaster.forecast(_until(load, end)))  # type: ignore[misc]
        for end in range(samples - _TICKS, samples)
    ]
    short = _until(load, 120)
    pure = [_seconds(lambda: forecast(short, horizon=300, quantile=0.9)) for _ in range(20)]
    return [
        Row("first forecast, fits and past errors", fit, "CPU s", config, Goal("<=", 2.0)),
        Row("tick, median", median(ticks) * 1000, "CPU ms", config, Goal("<=", 20.0)),
        Row("tick, worst of 120", max(ticks) * 1000, "CPU ms", config),
        Row("forecast() of 120 samples", median(pure) * 1000, "CPU ms", "the pure function, median of 20"),
    ]


def _load() -> list[float]:
    rng = np.random.default_rng(0)
    minutes = np.arange(_DAYS * 1440)
    rate = (
        300
        * (1 + 0.5 * np.sin(2 * np.pi * minutes / 1440))
        * np.exp(np.cumsum(rng.normal(0, 0.005, len(minutes))))
    )
    made: list[float] = (rng.poisson(rate) / 60).tolist()
    return made


def _until(load: list[float], end: int) -> Series:
    return Series(0.0, _STEP, tuple(load[:end]))


def _seconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began

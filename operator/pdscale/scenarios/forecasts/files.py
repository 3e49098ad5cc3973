"""Load series of files: rate series as they are, request tables counted in bins.

A window that a file marks as doubtful, or leaves out, is unknown. A bin without a request is idle: a request
table has a row for every request.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from pdscale.model.units import Seconds, format_duration
from pdscale.prom.survey import Figure
from pdscale.scenarios.fields import InvalidScenario
from pdscale.workload.files import read_lines
from pdscale.workload.load import load_rates, load_trace
from pdscale.workload.rates import RateSeries
from pdscale.workload.trace import UNKNOWN, TimeBase, Trace
from pdscale_forecaster.gaps import resample
from pdscale_forecaster.series import Series

# A day of requests in minutes, an hour of them in quarters of one.
_LONG: Final[Seconds] = 6 * 3600.0
_FINE: Final[Seconds] = 15.0
_COARSE: Final[Seconds] = 60.0


def is_rate_series(path: Path) -> bool:
    return "requests_per_s" in "".join(read_lines(path)[:1])


def series_of(path: Path, figure: Figure, *, step: Seconds | None) -> Series:
    """The load of a rate series or a request table; what is wrong with either is an ``InvalidScenario``."""
    try:
        if is_rate_series(path):
            return _in_steps(_of_rates(load_rates(path), figure), step)
        return _of_requests(load_trace(path), figure, step=step)
    except InvalidScenario:
        raise
    except ValueError as error:
        raise InvalidScenario(f"--trace {error}") from error


def _of_rates(rates: RateSeries, figure: Figure) -> Series:
    step = min(rates.window)
    start = rates.at[0]
    last = round((rates.at[-1] - start) / step)
    values = [math.nan] * (last + 1)
    for i, at in enumerate(rates.at):
        number = (at - start) / step
        if abs(number - round(number)) > 1e-6 or not math.isclose(rates.window[i], step):
            raise InvalidScenario(
                f"--trace {rates.source}: windows must be as long as each other to be forecast, "
                f"got {rates.window[i]:g}s at {at:g}s and {step:g}s elsewhere"
            )
        values[round(number)] = rates.rate[i] * _mean(rates, figure, i)
    if figure is not Figure.REQUESTS and all(map(math.isnan, values)):
        raise InvalidScenario(f"--trace {rates.source}: holds no lengths for --figure {figure}")
    return Series(start, step, tuple(values))


def _mean(rates: RateSeries, figure: Figure, i: int) -> float:
    match figure:
        case Figure.REQUESTS:
            return 1.0
        case Figure.OUTPUT:
            return rates.output[i]
        case _:
            return rates.prompt[i]


def _in_steps(series: Series, step: Seconds | None) -> Series:
    if step is None or step == series.step:
        return series
    try:
        return resample(series, step)
    except ValueError as error:
        raise InvalidScenario(
            f"--step: must be a multiple of the file's windows of {format_duration(series.step)}"
        ) from error


def _of_requests(trace: Trace, figure: Figure, *, step: Seconds | None) -> Series:
    if trace.time_base is not TimeBase.TRACE:
        raise InvalidScenario(
            f"--trace {trace.source}: its times do not count from a common start, so it has no load over "
            "time; pdscale simulate gives its sessions starts"
        )
    step = step or (_COARSE if trace.span >= _LONG else _FINE)
    first = math.floor(trace.at[0] / step)
    bins = math.floor(trace.at[-1] / step) - first  # the last one is not over yet
    if bins < 1:
        raise InvalidScenario(
            f"--trace {trace.source}: spans {trace.span:g}s, less than a --step of {step:g}s"
        )
    amounts = _amounts(trace, figure)
    totals = [0.0] * bins
    for at, amount in zip(trace.at, amounts, strict=True):
        number = math.floor(at / step) - first
        if number < bins:
            totals[number] += amount
    return Series(first * step, step, tuple(total / step for total in totals))


def _amounts(trace: Trace, figure: Figure) -> Sequence[float]:
    match figure:
        case Figure.REQUESTS:
            return [1.0] * len(trace)
        case Figure.OUTPUT:
            return trace.output
        case Figure.PROMPT:
            return trace.prompt
    return [p - max(0, c) if c != UNKNOWN else p for p, c in zip(trace.prompt, trace.cached, strict=True)]

"""From what was asked to a series of load: a metrics server's, or a file's."""

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pdscale.model.units import Seconds
from pdscale.model.workload import NoData
from pdscale.prom.client import PrometheusHistory
from pdscale.prom.errors import MetricsUnavailable
from pdscale.prom.grid import Grid
from pdscale.prom.queries import WINDOW, duration, rate_window
from pdscale.prom.survey import Figure, Found, survey
from pdscale.scenarios.fields import InvalidScenario
from pdscale.scenarios.forecasts.asked import Asked
from pdscale.scenarios.forecasts.files import series_of
from pdscale_forecaster.series import Series

_STEP: Final[Seconds] = 60.0
# Of a query of one's own nobody has counted the scrapes: the longest interval that is usual.
_SCRAPE_INTERVAL: Final[Seconds] = 60.0

Tell = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class Load:
    """``series`` begins and ends with a known sample. ``source`` is its file's or server's name.

    ``prompt`` and ``output`` are mean tokens per request on the same grid, where a server was asked for them.
    ``dated``: its instants are dates, and not seconds from a file's start.
    """

    source: str
    what: str
    series: Series
    dated: bool = False
    prompt: Series | None = None
    output: Series | None = None


def read(asked: Asked, tell: Tell = lambda _: None, *, lengths: bool = False) -> Load:
    """``tell`` hears the share that has been read. ``lengths``: with mean tokens, for a replay."""
    if asked.trace is not None:
        found = series_of(asked.trace, asked.figure, step=asked.step)
        return _trimmed(Load(asked.trace.name, f"{asked.figure} per second", found))
    try:
        return _trimmed(asyncio.run(_of_server(asked, tell, lengths=lengths)))
    except MetricsUnavailable as error:
        raise InvalidScenario(f"--prometheus: {error.reason}; {_next_step(error)}") from error


async def _of_server(asked: Asked, tell: Tell, *, lengths: bool) -> Load:
    try:
        server = PrometheusHistory(asked.access)
    except InvalidScenario:
        raise
    except ValueError as error:  # an address is judged before; certificates are read here
        raise InvalidScenario(f"--ca-file, --cert-file, --key-file: {error}") from error
    try:
        step = asked.step or _STEP
        try:
            grid = Grid.ending(time.time(), window=asked.history, step=step)
        except ValueError as error:
            raise InvalidScenario(f"--history, --step: {error}") from error
        if asked.query is not None:
            window = rate_window(scrape_interval=_SCRAPE_INTERVAL, step=step)
            query = asked.query.replace(WINDOW, duration(window))
            series = await server.series(query, grid, tell=lambda n: tell(n / grid.samples))
            return Load(server.url, asked.query, series, dated=True)
        found = await survey(server, select=asked.select)
        if isinstance(found, NoData):
            raise InvalidScenario(
                f"--prometheus: {found.reason}; name another server, --select or a --query of your own"
            )
        return await _of_exporter(server, found, asked.figure, grid, tell, lengths=lengths)
    finally:
        server.close()


async def _of_exporter(
    server: PrometheusHistory, found: Found, figure: Figure, grid: Grid, tell: Tell, *, lengths: bool
) -> Load:
    wanted = [figure, *((Figure.REQUESTS, Figure.PROMPT, Figure.OUTPUT) if lengths else ())]
    series: dict[Figure, Series] = {}
    for done, each in enumerate(dict.fromkeys(wanted)):
        query = found.query(each, step=grid.step)
        series[each] = await server.series(
            query,
            grid,
            tell=lambda n, done=done: tell((done + n / grid.samples) / len(set(wanted))),  # type: ignore[misc]
        )
    what = f"{figure} per second of {found.wording.exporter}"
    if not lengths:
        return Load(server.url, what, series[figure], dated=True)
    means = {each: _over(series[each], series[Figure.REQUESTS]) for each in (Figure.PROMPT, Figure.OUTPUT)}
    return Load(server.url, what, series[figure], True, means[Figure.PROMPT], means[Figure.OUTPUT])


def _over(tokens: Series, requests: Series) -> Series:
    pairs = zip(tokens.values, requests.values, strict=True)
    return Series(tokens.start, tokens.step, tuple(t / r if r > 0 else math.nan for t, r in pairs))


def _trimmed(load: Load) -> Load:
    """Without what lies before the first and after the last sample that is known."""
    values = load.series.values
    known = [i for i, value in enumerate(values) if not math.isnan(value)]
    if not known:
        raise InvalidScenario(
            f"{load.source}: {load.what}: no sample is known in all of --history; is it another --select?"
        )
    below = next((v for v in values if v < 0), None)
    if below is not None:
        raise InvalidScenario(f"{load.source}: {load.what}: a load must be at least 0, got {below:g}")

    def cut(series: Series | None) -> Series | None:
        if series is None:
            return None
        part = series.values[known[0] : known[-1] + 1]
        return Series(series.start + known[0] * series.step, series.step, part)

    found = cut(load.series)
    assert found is not None
    return Load(load.source, load.what, found, load.dated, cut(load.prompt), cut(load.output))


def _next_step(error: MetricsUnavailable) -> str:
    if error.retry_helps:
        return "is the address right, and the server up? --trace takes a file instead"
    return "change --query, --select or the credentials"

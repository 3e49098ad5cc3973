"""Traffic of a plan from a metrics server: rates and mean lengths of the past, written as a rate series.

A server knows no single request. What it knows is read as ``pdscale forecast`` reads it and drawn from as
``pdscale compare --trace`` draws from such a file: lengths scatter around each window's mean as those of
recorded conversations do. A day is read unless somebody says otherwise: a plan for one load wants its peak,
and every drawn request is simulated some ten times.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

from pdscale.scenarios.fields import Field, InvalidScenario
from pdscale.scenarios.forecasts.asked import SOURCE, asked
from pdscale.scenarios.forecasts.reading import Load, read
from pdscale.scenarios.forecasts.replaying import MOST_REQUESTS, as_trace

_DAY: Final = 86_400.0


def _ours(field: Field) -> Field:
    if field.name == "history":
        return replace(field, default=_DAY, help="how much of the past is read [1d]")
    return field


# Requests and both lengths are read, so that there is no figure and no query to choose.
SERVER: Final = tuple(_ours(f) for f in SOURCE if f.name not in ("figure", "query"))


@contextmanager
def traffic_of_server(
    flags: Mapping[str, Any], tell: Callable[[float], None]
) -> Iterator[tuple[dict[str, Any], str | None]]:
    """Flags with a trace in place of ``--prometheus``, and the server's name; as they are without it."""
    if flags["prometheus"] is None:
        given = [f"--{f.name}" for f in SERVER if flags[f.name.replace("-", "_")] is not None]
        if given:
            raise InvalidScenario(f"{', '.join(given)}: need --prometheus URL")
        yield dict(flags), None
        return
    for other in ("trace", "workload"):
        if flags[other] is not None:
            raise InvalidScenario(f"--prometheus, --{other}: give one of them")
    load = read(asked(SERVER, flags), tell, lengths=True)
    _small_enough(load, flags)
    with as_trace(load) as path:
        yield {**flags, "trace": str(path)}, f"{load.what} at {load.source}"


def _small_enough(load: Load, flags: Mapping[str, Any]) -> None:
    count = math.fsum(v for v in load.series.values if not math.isnan(v)) * load.series.step
    if count > MOST_REQUESTS and flags["excerpt"] is None and flags["thin"] is None:
        raise InvalidScenario(
            f"--prometheus: some {count:.0f} requests are more than {MOST_REQUESTS} to draw; shorten "
            "--history, or take part of them with --excerpt or --thin"
        )

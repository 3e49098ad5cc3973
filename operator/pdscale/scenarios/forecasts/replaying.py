"""What forecasts would have been worth in GPUs: the same load through planner and simulator.

Rules differ in nothing but how they size: what hindsight would have kept for good, an HPA, our planner with
the last value, and with the forecast. A metrics server's load has no requests, so that its rates and mean
lengths are written as a rate series and drawn from, as ``pdscale simulate --trace`` does with such files.
"""

import csv
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from pdscale.scenarios.fields import InvalidScenario
from pdscale.scenarios.forecasts.reading import Load
from pdscale.scenarios.runs import Case, Row, run_case
from pdscale.scenarios.settings import PlacementName, ScalingName, Settings
from pdscale.scenarios.traffic import traffic_of

# Some minutes of simulation on one core.
MOST_REQUESTS: Final = 300_000
_LAST_VALUE: Final = "LastValue"


@dataclass(frozen=True, slots=True)
class Replayed:
    """One rule's run; ``name`` says what it sizes by."""

    name: str
    row: Row


def replay(settings: Settings, tell: Callable[[int, float], None]) -> list[Replayed]:
    """``tell`` hears how many runs are done, and the share of the next one."""
    seed, load = settings.seed[0], settings.load[0]
    count = len(traffic_of(settings, seed))
    if count > MOST_REQUESTS:
        raise InvalidScenario(
            f"--replay: {count} requests are more than {MOST_REQUESTS}; shorten with --excerpt or --thin, or "
            "leave it out with --replay false"
        )
    placement = (*settings.placement, PlacementName.COST_BASED)[0]
    found = []
    for done, (name, each, scaling) in enumerate(_rules(settings)):
        case = Case(placement, scaling, load, seed)
        row = run_case(each, case, lambda share, done=done: tell(done, share))  # type: ignore[misc]
        found.append(Replayed(name, row))
    return found


def runs(settings: Settings) -> int:
    """How many runs a replay has."""
    return sum(1 for _ in _rules(settings))


def _rules(settings: Settings) -> Iterator[tuple[str, Settings, ScalingName]]:
    wanted: Sequence[ScalingName] = settings.scaling or (
        ScalingName.ORACLE_STATIC,
        ScalingName.HPA,
        ScalingName.PDSCALE,
    )
    for scaling in wanted:
        if scaling is not ScalingName.PDSCALE:
            yield str(scaling), settings, scaling
            continue
        for model in dict.fromkeys((_LAST_VALUE, settings.forecast)):
            yield f"{scaling}, {model}", replace(settings, forecast=model), scaling


@contextmanager
def as_trace(load: Load) -> Iterator[Path]:
    """A rate series of a metrics server's load, for as long as the context is open."""
    with TemporaryDirectory(prefix="pdscale-replay-") as folder:
        file = Path(folder) / "history.csv"
        with file.open("w", newline="", encoding="utf-8") as out:
            writer = csv.writer(out)
            writer.writerow(
                ("timestamp_s", "window_s", "requests_per_s", "mean_input_tokens", "mean_output_tokens")
            )
            writer.writerows(_windows(load))
        yield file


def _windows(load: Load) -> Iterator[tuple[float, float, str, str, str]]:
    """A sample at an instant is of the window before it; an unknown one is an empty field."""
    series = load.series
    empty = (math.nan,) * len(series.values)
    prompt = load.prompt.values if load.prompt else empty
    output = load.output.values if load.output else empty
    for i, sample in enumerate(zip(series.values, prompt, output, strict=True)):
        rate, mean_in, mean_out = ("" if math.isnan(v) else repr(v) for v in sample)
        yield i * series.step, series.step, rate, mean_in, mean_out

"""Traces, rate series and performance models by path: what ``--trace`` and ``--profile`` take.

A file says by its header or its keys which form it is, not by its name; only whether it is CSV or JSON, and
the memory and network of a grid's engine (which no grid holds), are taken from the name.
"""

import random
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from pdscale.perf.builtin import BUILTIN, GRIDS
from pdscale.perf.document import InvalidProfile, read_profile
from pdscale.perf.engine import Engine
from pdscale.perf.grid import GridModel, grid_model
from pdscale.perf.measured_tables import read_grid, read_measurements
from pdscale.perf.measurements import Measurements
from pdscale.perf.profile import Profile
from pdscale.perf.published import read_distserve, read_dynamo, read_engine_fits, read_llmd_presets
from pdscale.perf.refit import Fit, fit_profile
from pdscale.workload.files import read_csv, read_json, read_lines
from pdscale.workload.measured_replay import MeasuredReplay, read_measured_replay
from pdscale.workload.rates import RateSeries, read_rates
from pdscale.workload.request_table import read_requests
from pdscale.workload.trace import TimeBase, Trace

T = TypeVar("T")


class UnknownEngine(ValueError):
    """The file leaves open which engine is meant."""


def load_trace(path: Path, *, time_base: TimeBase | None = None) -> Trace:
    """A request table and, if it lies beside it, its ``*.hashes.jsonl.gz``."""
    table = read_csv(path)
    hashes = _hashes_beside(path)
    return read_requests(
        table, time_base=time_base, hashes=(str(hashes), read_lines(hashes)) if hashes else None
    )


def _hashes_beside(path: Path) -> Path | None:
    stem = path.name.split(".csv", 1)[0]
    beside = (path.with_name(f"{stem}.hashes.jsonl{end}") for end in (".gz", ""))
    return next((file for file in beside if file.exists()), None)


def load_rates(path: Path) -> RateSeries:
    return read_rates(read_csv(path))


def load_measured_replay(path: Path) -> MeasuredReplay:
    return read_measured_replay(read_csv(path))


def load_model(path: Path, *, entry: str | None = None, engine: Engine | None = None) -> Profile | GridModel:
    """A model from any known form: grids interpolate, measurements are fitted, formulae taken as they are.

    ``entry`` chooses among several engines of one file. ``engine`` gives memory and network to forms that
    have none; grids of the known engines bring their own.
    """
    if not _is_json(path):
        table = read_csv(path)
        if "phase" in table:
            return grid_model(read_grid(table), engine or _engine_of(path))
        points = _chosen(path, read_measurements(table), entry)
        return _fitted(points, engine or _engine_of(path)).profile
    document = read_json(path)
    if "engines" in document:
        return _chosen(path, read_engine_fits(document), entry)
    if "fits" in document:
        return _chosen(path, read_distserve(document), entry)
    if "presets" in document:
        return _chosen(path, read_llmd_presets(document, engine or _engine_of(path)), entry)
    if "max_kv_tokens" in document:
        return _fitted(read_dynamo(document), engine or _engine_of(path)).profile
    try:
        return read_profile(document.value)
    except InvalidProfile as error:
        raise InvalidProfile(f"{path}: {error}") from error


def load_fit(path: Path, *, entry: str | None = None, engine: Engine | None = None) -> Fit:
    """A profile fitted to a file's measurements, with its errors."""
    if _is_json(path):
        points = read_dynamo(read_json(path))
    else:
        points = _chosen(path, read_measurements(read_csv(path)), entry)
    return _fitted(points, engine or _engine_of(path))


def _fitted(points: Measurements, engine: Engine) -> Fit:
    """One seed will do: what is held out changes what is reported of the profile, not the profile."""
    return fit_profile(points, engine, rng=random.Random(0))


def _is_json(path: Path) -> bool:
    return ".json" in path.suffixes


def _engine_of(path: Path) -> Engine:
    name = path.name.split(".", 1)[0].removeprefix("grid_")
    if name not in GRIDS:
        raise UnknownEngine(
            f"{path}: holds times alone, and the file's name tells no engine; say which one it is "
            f"(memory, KV bytes, network), for instance that of one of {', '.join(sorted(BUILTIN))}"
        )
    return Engine.of(BUILTIN[GRIDS[name]])


def _chosen(path: Path, entries: Mapping[str, T], entry: str | None) -> T:
    if entry is None and len(entries) == 1:
        return next(iter(entries.values()))
    if entry is None or entry not in entries:
        raise UnknownEngine(f"{path}: entry must be one of {', '.join(sorted(entries))}, got {entry}")
    return entries[entry]

"""Runs as rows with goals and as one table; what loses stays in."""

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from statistics import fmean
from typing import Final

from benchmarks.planner.runs import STATIC, Ran
from benchmarks.planner.workloads import Workload
from benchmarks.rows import Goal, Row
from pdscale.scenarios.settings import ScalingName

TARGET: Final = 0.99
OURS: Final = ScalingName.PDSCALE
RIVALS: Final = ((STATIC, "best static"), (ScalingName.HPA, "HPA"), (ScalingName.CLAIRVOYANT, "clairvoyant"))


def rows_of(workload: Workload, found: Sequence[Ran]) -> list[Row]:
    """Of one workload, each start-up by itself; means over the seeds."""
    rows: list[Row] = []
    for start_up, runs in _by_start_up(found):
        where = f"{workload.name}, start-up {start_up:g} s"
        ours = [r for r in runs if r.scaling is OURS]
        if not ours:
            continue
        rows.append(Row("attainment", 100 * _mean(ours, _attainment), "%", where, Goal(">=", 100 * TARGET)))
        for rival, name in RIVALS:
            other = [r for r in runs if r.scaling is rival]
            both = {r.seed for r in ours} & {r.seed for r in other}
            if both:
                rows.append(_against(workload, _of(ours, both), _of(other, both), name, where))
        changes = fmean(r.changes / r.hours for r in ours)
        goal = Goal("<=", 1) if workload.stationary else None
        rows.append(Row("changes", changes, "1/h", where, goal))
        if workload.stationary:
            share = 100 * fmean(r.near for r in ours)
            rows.append(Row("time within a replica of the best fleet", share, "%", where, Goal(">=", 97)))
    return rows


def _of(runs: Sequence[Ran], seeds: set[int]) -> list[Ran]:
    return [r for r in runs if r.seed in seeds]


def _against(workload: Workload, ours: Sequence[Ran], other: Sequence[Ran], name: str, where: str) -> Row:
    """GPU-hours over the other's. A rival that attains less is dearer than it looks, so its share is told."""
    ratio = _mean(ours, _hours) / _mean(other, _hours)
    attains = 100 * _mean(other, _attainment)
    config = where if attains >= 100 * TARGET else f"{where}; {name} attains {attains:.1f} %"
    bounds = {
        "best static": 0.90 if workload.diurnal else 1.05,
        "HPA": 0.90 if workload.diurnal else math.nan,
        "clairvoyant": 1.15,
    }
    goal = None if math.isnan(bounds[name]) else Goal("<=", bounds[name])
    return Row(f"GPU-hours over {name}'s", ratio, "x", config, goal)


def table_of(found: Iterable[Ran]) -> str:
    header = (
        "workload",
        "start-up s",
        "seeds",
        "rule",
        "attainment %",
        "strict %",
        "GPU-h",
        "changes/h",
        "best static",
    )
    lines = [header, ("---", "--:", "---", "---", "--:", "--:", "--:", "--:", "---")]
    for (workload, start_up, rule), runs in groupby(
        sorted(found, key=_key), key=lambda r: (r.workload, r.start_up, r.scaling)
    ):
        several = list(runs)
        lines.append(
            (
                workload,
                f"{start_up:g}",
                ", ".join(str(r.seed) for r in several),
                str(rule),
                f"{100 * _mean(several, _attainment):.2f}",
                f"{100 * fmean(r.strict for r in several):.2f}",
                f"{_mean(several, _hours):.1f}",
                f"{fmean(r.changes / r.hours for r in several):.1f}",
                " ".join(str(r.best) for r in several),
            )
        )
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def _key(ran: Ran) -> tuple[str, float, str, int]:
    return ran.workload, ran.start_up, str(ran.scaling), ran.seed


def _by_start_up(found: Sequence[Ran]) -> list[tuple[float, list[Ran]]]:
    ordered = sorted(found, key=lambda r: r.start_up)
    return [(start_up, list(runs)) for start_up, runs in groupby(ordered, key=lambda r: r.start_up)]


def _mean(runs: Sequence[Ran], figure: Callable[[Ran], float]) -> float:
    return fmean(figure(r) for r in runs)


def _attainment(ran: Ran) -> float:
    return ran.attainment


def _hours(ran: Ran) -> float:
    return ran.gpu_hours

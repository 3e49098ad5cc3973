"""A profile that is 30 % wrong: planners that trust it, that correct it, and that know better.

Engines take so many times what routers and planner are told, with noise on every pass. *Trusting* plans by
the profile, *correcting* by what it learns, *knowing* by the right one; routers have the wrong one always.
All begin with the same fleet. Rows to ``build/bench/calibration-WORKLOAD.json``, a table beside them.
"""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from statistics import fmean
from typing import Final

from benchmarks.planner.runs import PLACEMENT
from benchmarks.planner.workloads import QUICK, WORKLOADS
from benchmarks.rows import FOLDER, Goal, Row, publish
from pdscale.model.pools import Targets
from pdscale.perf.scaled import rescaled
from pdscale.scaling.autoscaler import Autoscaler
from pdscale.scenarios.building import scenario_of
from pdscale.scenarios.engines import models_of
from pdscale.scenarios.runs import mapped
from pdscale.scenarios.scaling import policy_of
from pdscale.scenarios.settings import ScalingName, Settings
from pdscale.scenarios.traffic import traffic_of
from pdscale.sim.judge import judge
from pdscale.sim.scaler import LiveScaler
from pdscale.sim.simulation import simulate
from pdscale_forecaster import Remembered

NAME: Final = "calibration"
ASKED: Final = ("conversation", "azure2024_code")  # one stationary, one that swings
SLOWER: Final = (1.3, 1.0, 1 / 1.3)
NOISE: Final = 0.1
START_UP: Final = 60
LEARNT: Final = 900.0  # rounds that arrive later are judged apart: a new service learns in its first minutes
BEGIN: Final = Targets(3, 3)


class Planner(StrEnum):
    """Who plans."""

    TRUSTING = "trusting"
    CORRECTING = "correcting"
    KNOWING = "knowing"


@dataclass(frozen=True, slots=True)
class Task:
    workload: str
    settings: Settings
    planner: Planner

    @property
    def key(self) -> tuple[str, float]:
        return self.workload, self.settings.slowdown


@dataclass(frozen=True, slots=True)
class Ran:
    """Shares of rounds that attain both objectives, of all and of those that arrive after ``LEARNT``."""

    task: Task
    attainment: float
    later: float
    gpu_hours: float
    changes: float


def ran(task: Task) -> Ran:
    settings, seed = task.settings, task.settings.seed[0]
    traffic = traffic_of(settings, seed)
    plan = scenario_of(settings, traffic, placement=PLACEMENT, scaling=ScalingName.PDSCALE, begin=BEGIN)
    profile, knows = models_of(settings).profile, task.planner is Planner.KNOWING
    if knows:
        profile = rescaled(profile, prefill=settings.slowdown, decode=settings.slowdown)
    policy = replace(policy_of(settings, profile), calibrate=task.planner is Planner.CORRECTING)
    plan = replace(plan, scaler=lambda: LiveScaler(Autoscaler(Remembered()), policy))
    result = simulate(plan, traffic, seed=seed)
    whole = judge(result, settings.slo, start=0.0, stop=traffic.last_start)
    later = judge(result, settings.slo, start=LEARNT, stop=traffic.last_start)
    hours = result.ended_at / 3600
    return Ran(task, whole.attainment, later.attainment, whole.gpu_hours, whole.changes / hours)


def main() -> int:
    flags = _flags()
    found = []
    for each in mapped(ran, list(_tasks(flags)), jobs=flags.jobs):
        found.append(each)
        print(table_of([each]).splitlines()[-1], file=sys.stderr, flush=True)
    for workload in dict.fromkeys(each.task.workload for each in found):
        runs = [each for each in found if each.task.workload == workload]
        publish(f"{NAME}-{workload}", rows_of(runs))
        (FOLDER / f"{NAME}-{workload}.md").write_text(table_of(runs), encoding="utf-8")
    return 0


def _flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.planner.calibration", description=__doc__)
    said = os.environ.get("PDSCALE_TRACES")
    parser.add_argument("--traces", type=Path, default=Path(said) if said else None, metavar="DIR")
    parser.add_argument("--only", default=",".join(ASKED), metavar="NAME[,NAME]")
    parser.add_argument("--seeds", default="1,2", metavar="N[,N]")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="processes at a time")
    flags = parser.parse_args()
    if flags.traces is None or not flags.traces.is_dir():
        parser.error(f"--traces: must be a folder, got {flags.traces}; name one, or set PDSCALE_TRACES")
    return flags


def _tasks(flags: argparse.Namespace) -> Iterator[Task]:
    asked = flags.only.split(",")
    for workload in (w for w in WORKLOADS if w.name in asked):
        for seed in map(int, flags.seeds.split(",")):
            settings = workload.settings(flags.traces, QUICK, (seed,), START_UP)
            for slower in SLOWER:
                engines = replace(settings, slowdown=slower, noise=NOISE)
                # Who trusts a right profile knows.
                planners = [p for p in Planner if slower != 1 or p is not Planner.KNOWING]
                yield from (Task(workload.name, engines, planner) for planner in planners)


def rows_of(found: Sequence[Ran]) -> list[Row]:
    """What correcting gives away against knowing."""
    rows = []
    for workload, slower in dict.fromkeys(r.task.key for r in found):
        ours = _of(found, (workload, slower), Planner.CORRECTING)
        known = _of(found, (workload, slower), Planner.TRUSTING if slower == 1 else Planner.KNOWING)
        where = f"{workload}, engines take {slower:.2f}x"
        lost = 100 * (_mean(known, "later") - _mean(ours, "later"))
        rows.append(Row("attainment lost after 15 minutes", lost, "points", where, Goal("<=", 1)))
        dearer = _mean(ours, "gpu_hours") / _mean(known, "gpu_hours")
        rows.append(Row("GPU-hours over knowing's", dearer, "x", where, Goal("<=", 1.05)))
        more = _mean(ours, "changes") - _mean(known, "changes")
        rows.append(Row("changes more than knowing", more, "1/h", where, Goal("<=", 1)))
    return rows


def table_of(found: Sequence[Ran]) -> str:
    names = ("workload", "engines take", "planner", "attained %", "after 15 min %", "GPU-h", "changes/h")
    lines: list[Sequence[str]] = [names, ("---", "--:", "---", "--:", "--:", "--:", "--:")]
    for key in dict.fromkeys(r.task.key for r in found):
        for planner in Planner:
            runs = _of(found, key, planner)
            if not runs:
                continue
            shares = [f"{100 * _mean(runs, share):.2f}" for share in ("attainment", "later")]
            spent = [f"{_mean(runs, figure):.1f}" for figure in ("gpu_hours", "changes")]
            lines.append((key[0], f"{key[1]:.2f}x", str(planner), *shares, *spent))
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def _of(found: Sequence[Ran], key: tuple[str, float], planner: Planner) -> list[Ran]:
    return [r for r in found if r.task.key == key and r.task.planner is planner]


def _mean(runs: Sequence[Ran], figure: str) -> float:
    return fmean(getattr(r, figure) for r in runs)


if __name__ == "__main__":
    sys.exit(main())

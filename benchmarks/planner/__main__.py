"""Every scaling rule on the planner's workloads: rows to ``build/bench/planner.json``, all runs as a table.

Quick by default: one seed, every rule at a start-up of 60 s, and the operator's planner, HPA and foresight at
15 and 180 s too, in some ten minutes of CPU time. ``--full`` takes five copies of the requests, whole days of
rates and three seeds, in hours. ``--only`` takes some workloads; what was found of others before stays.
``--again`` runs what is asked for and keeps all else of these workloads as well: after a change of the
planner its own runs (``--again --rules Pdscale``) take a tenth of the time, as best static fleets are known.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path
from typing import Final

from benchmarks.planner.figures import OURS, rows_of, table_of
from benchmarks.planner.runs import RULES, STATIC, Ran, Task, ran, searched
from benchmarks.planner.workloads import FULL, MADE, QUICK, WORKLOADS, Workload
from benchmarks.rows import FOLDER, publish
from pdscale.model.pools import Targets
from pdscale.scenarios.runs import mapped
from pdscale.scenarios.settings import ScalingName

START_UPS: Final = (15, 60, 180)
USUAL: Final = 60
EVERYWHERE: Final = (ScalingName.HPA, OURS, ScalingName.CLAIRVOYANT)
NAME: Final = "planner"


def main() -> int:
    flags = _flags()
    chosen = [w for w in WORKLOADS if w.name in flags.only.split(",")]
    seeds = tuple(int(seed) for seed in flags.seeds.split(","))
    for workload in chosen:
        before = _kept(workload) if flags.again else []
        found = list(_runs(workload, flags, seeds, before))
        _keep(workload, replaced(before, found))
        print(table_of(found), flush=True)
    kept = [(w, _kept(w)) for w in WORKLOADS]
    publish(NAME, [row for w, found in kept for row in rows_of(w, found)])
    table = table_of(r for _, found in kept for r in found)
    (FOLDER / f"{NAME}.md").write_text(f"{_CAPTION}\n\n{table}", encoding="utf-8")
    return 0


_CAPTION: Final = (
    "**Every rule on the planner's workloads.** SLO of 99 %; all begin with the best static fleet, found by "
    "search in the very run; starting and draining replicas count as GPU-hours; rounds placed by CostBased."
)


def _flags() -> argparse.Namespace:
    names = ",".join(w.name for w in WORKLOADS)
    parser = argparse.ArgumentParser(prog="python -m benchmarks.planner", description=__doc__)
    said = os.environ.get("PDSCALE_TRACES")
    parser.add_argument("--traces", type=Path, default=Path(said) if said else None, metavar="DIR")
    parser.add_argument("--only", default=names, metavar="NAME[,NAME]", help=names)
    parser.add_argument("--rules", default=",".join(RULES), metavar="NAME[,NAME]", help=", ".join(RULES))
    parser.add_argument("--start-ups", default=",".join(map(str, START_UPS)), metavar="S[,S]")
    parser.add_argument("--seeds", default="", metavar="N[,N]", help="1, and with --full 1,2,3")
    parser.add_argument("--again", action="store_true", help="keep the runs that are not asked for")
    parser.add_argument("--full", action="store_true", help="larger workloads, all rules at every start-up")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="processes at a time")
    flags = parser.parse_args()
    flags.seeds = flags.seeds or ("1,2,3" if flags.full else "1")
    if unknown := [name for name in flags.only.split(",") if name not in names.split(",")]:
        parser.error(f"--only: must be among {names}, got {', '.join(unknown)}")
    if flags.traces is None or not flags.traces.is_dir():
        parser.error(f"--traces: must be a folder, got {flags.traces}; name one, or set PDSCALE_TRACES")
    return flags


def replaced(before: Sequence[Ran], found: Sequence[Ran]) -> list[Ran]:
    """All of ``found``, and of ``before`` the runs of other start-ups, rules and seeds."""

    def which(run: Ran) -> tuple[float, ScalingName, int]:
        return run.start_up, run.scaling, run.seed

    new = {which(run) for run in found}
    return [run for run in before if which(run) not in new] + list(found)


def _runs(
    workload: Workload, flags: argparse.Namespace, seeds: Sequence[int], before: Sequence[Ran]
) -> Iterator[Ran]:
    size = FULL if flags.full else QUICK
    start_ups = [int(seconds) for seconds in flags.start_ups.split(",")]
    usual = USUAL if USUAL in start_ups else start_ups[0]
    settings = {s: workload.settings(flags.traces, size, tuple(seeds), s) for s in start_ups}

    def task(start_up: int, rule: ScalingName, seed: int) -> Task:
        return Task(workload.name, replace(settings[start_up], seed=(seed,)), rule)

    best = {run.seed: run.best for run in before}
    unknown = [seed for seed in seeds if seed not in best]
    first = [task(usual, STATIC, seed) for seed in unknown]
    best |= zip(unknown, mapped(searched, first, jobs=flags.jobs), strict=True)
    rules = [ScalingName(name) for name in flags.rules.split(",")]
    asked = [
        task(start_up, rule, seed)
        for start_up, rule, seed in product(start_ups, (STATIC, *rules), seeds)
        if flags.full or start_up == usual or rule in EVERYWHERE or rule is STATIC
    ]
    yield from mapped(ran, [replace(t, best=best[t.seed]) for t in asked], jobs=flags.jobs)


def _path(workload: Workload) -> Path:
    return MADE / f"{workload.name.replace(' ', '_')}.json"


def _keep(workload: Workload, found: Sequence[Ran]) -> None:
    MADE.mkdir(parents=True, exist_ok=True)
    _path(workload).write_text(json.dumps([asdict(r) for r in found], indent=1) + "\n")


def _kept(workload: Workload) -> list[Ran]:
    path = _path(workload)
    if not path.exists():
        return []
    records = json.loads(path.read_text())
    return [Ran(**r | {"best": Targets(**r["best"]), "scaling": ScalingName(r["scaling"])}) for r in records]


if __name__ == "__main__":
    sys.exit(main())

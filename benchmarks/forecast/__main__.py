"""Score the forecaster on traces: rows to ``build/bench/forecast.json``, a table beside it.

Traces are other people's files and not part of this repository: their folder is an argument, or
PDSCALE_TRACES. Everything reported is about the second half of each series. Constants of the models are
chosen with ``--tune``, which cuts the second half off and judges the second quarter. A run takes some
minutes of one core; ``--every`` thins the origins of long traces further.
"""

import argparse
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

from benchmarks.forecast import bounds, cost, joint, peers, report
from benchmarks.forecast.cases import Case, cases
from benchmarks.forecast.scores import judged
from benchmarks.rows import FOLDER, Row, publish

# The series whose goal came from another fortnight.
_BOUNDED = "rates_servegen_mlarge_week1:requests"


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.forecast", description=__doc__, allow_abbrev=False
    )
    folder = os.environ.get("PDSCALE_TRACES")
    parser.add_argument("--traces", type=Path, default=Path(folder) if folder else None, metavar="DIR")
    parser.add_argument("--only", default="", metavar="SERIES", help="series whose names contain this")
    parser.add_argument("--leads", default="60,300,600", metavar="S[,S]", help="seconds ahead")
    parser.add_argument("--every", type=int, default=2, metavar="N", help="thinning of minute-wise origins")
    parser.add_argument(
        "--peers", type=Path, metavar="PYTHON", help="compare with the peers of this interpreter"
    )
    parser.add_argument(
        "--bounds",
        metavar="SERIES",
        help="what hindsight alone could have on this series, such as NAME:requests",
    )
    parser.add_argument("--tune", action="store_true", help="first half only; nothing is published")
    parser.add_argument("--json", action="store_true", help="scores of every model to standard output")
    flags = parser.parse_args()
    if flags.traces is None or not flags.traces.is_dir():
        parser.error(f"--traces: must be a folder, got {flags.traces}; name one, or set PDSCALE_TRACES")
    found = list(cases(flags.traces, [float(lead) for lead in flags.leads.split(",")], flags.only))
    if flags.tune:
        found = [case.first_half() for case in found]
    if not found:
        parser.error(f"--only: must be part of a series' name, got {flags.only!r}")
    if flags.peers is not None:
        compared = list(peers.compared(flags.peers, found, every=flags.every))
        _publish("forecast_peers", report.peer_rows(compared), report.peer_table(compared))
        return 0
    if flags.bounds is not None:
        if flags.bounds not in {case.name for case in found if case.steps == 1}:
            parser.error(f"--bounds: must be a series with a lead of one step, got {flags.bounds!r}")
        return _bounded(found, flags.bounds)
    results = []
    for number, case in enumerate(found, 1):
        print(f"{number}/{len(found)} {case.name} {case.lead:g} s ahead", file=sys.stderr)
        results.append(judged(case, every=case.thinned(flags.every)))
    if flags.json:
        print(json.dumps([asdict(result) for result in results], indent=1))
    if flags.json or flags.tune:
        return 0
    both = list(joint.joint(found, results))
    figures = [*report.rows(results), *joint.rows(both), *cost.measured()]
    _publish("forecast", figures, report.table(results) + joint.table(both))
    return _bounded(found, _BOUNDED)


def _bounded(found: list[Case], series: str) -> int:
    """Nothing is published of a series that is not among ``found``, as with ``--only``."""
    rows = [
        row
        for case in found
        if case.name == series and case.steps == 1
        for row in (*bounds.Hindsight(case).rows(), *bounds.other_parts(case))
    ]
    if rows:
        _publish("forecast_bounds", rows, bounds.EXPLAINED)
    return 0


def _publish(name: str, rows: list[Row], table: str) -> None:
    publish(name, rows)
    (FOLDER / f"{name}.md").write_text(table, encoding="utf-8")
    print(table)


if __name__ == "__main__":
    sys.exit(main())

"""Our planner in Dynamo's simulator: rows to ``build/bench/dynamo.json``, a table beside it.

``--peers``, or PDSCALE_DYNAMO, names a Python with ``ai-dynamo==1.4.2`` and what its planner needs without
declaring it: pydantic pyyaml numpy pandas scipy scikit-learn prometheus-api-client filterpy pmdarima prophet
plotly redis grpcio protobuf. Three minutes to install, 1.3 GB, no GPU; nothing of ours is needed there.

A run takes seconds, a case and seed two minutes of a core. ``--code`` replays a recorded trace as case C.
"""

import argparse
import os
import sys
from pathlib import Path

from benchmarks.dynamo import report
from benchmarks.dynamo.cases import cases
from benchmarks.dynamo.comparing import Compared, compared
from benchmarks.dynamo.profiling import profiled
from benchmarks.rows import FOLDER, publish


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.dynamo", description=__doc__, allow_abbrev=False
    )
    python = os.environ.get("PDSCALE_DYNAMO")
    parser.add_argument("--peers", type=Path, default=Path(python) if python else None, metavar="PYTHON")
    parser.add_argument("--only", default="A,B,C", metavar="CASE[,CASE]")
    parser.add_argument("--seeds", default="4,5,6", metavar="N[,N]")  # developed on 1 to 3, 11 and 12
    parser.add_argument("--quick", action="store_true", help="three of the ten modes of Dynamo's planner")
    parser.add_argument("--code", type=Path, metavar="TRACE", help="a recorded trace for case C")
    flags = parser.parse_args()
    if flags.peers is None or not flags.peers.is_file():
        parser.error(f"--peers: must be a Python interpreter, got {flags.peers}; or set PDSCALE_DYNAMO")
    known = {case.name: case for case in cases(flags.code)}
    asked = flags.only.split(",")
    if unknown := [name for name in asked if name not in known]:
        parser.error(f"--only: must be among {', '.join(known)}, got {', '.join(unknown)}")
    seeds = [int(seed) for seed in flags.seeds.split(",")]
    command = f"python -m benchmarks.dynamo --peers PYTHON --only {flags.only} --seeds {flags.seeds}"
    command += " --quick" if flags.quick else ""
    results: list[Compared] = []
    for case in (known[name] for name in asked):
        fit = profiled(flags.peers, case)
        own = seeds if case.path is None else seeds[:1]  # a recorded trace has no seeds
        results.append(compared(flags.peers, case, fit, seeds=own, tell=_told, quick=flags.quick))
        publish("dynamo", report.rows(results))  # after each case, since all take long
        (FOLDER / "dynamo.md").write_text(report.table(results, command=command), encoding="utf-8")
    print(report.table(results, command=command))
    return 0


def _told(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())

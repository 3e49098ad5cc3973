"""How many rounds the simulator gets through in a second of one core, with the policies that run live.

A day of 1.3 million rounds on 8 replicas within 60 s is the goal: 15 rounds/s. ``--rounds 1300000`` runs all
of it. CPU time, the best of ``--repeats``: on a shared machine a run is never too fast. Where ``--compiled``
names what ``python -m benchmarks.sim.compiled`` has made, policies are run with that and without it in turn,
and the same figures to the bit are demanded of both.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from benchmarks.rows import Goal, Row, publish
from benchmarks.sim.speed import GOAL, POLICIES, RATE, Timed, calibration, conversations, singles, timed
from pdscale.sim.traffic import Traffic

KINDS: Final[dict[str, Callable[[int], Traffic]]] = {
    "single rounds": singles,
    "conversations of 5": conversations,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=60_000)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--compiled", type=Path, metavar="DIR")
    parser.add_argument("--policies", default=",".join(POLICIES), metavar="NAME[,NAME]")
    parser.add_argument("--one", nargs=2, metavar=("KIND", "POLICY"), help="time one run and print it")
    flags = parser.parse_args()
    if flags.one:
        kind, policy = flags.one
        print(json.dumps(timed(policy, KINDS[kind](flags.rounds))))
        return
    rows = []
    for kind in KINDS:
        for policy in flags.policies.split(","):
            rows += _rows(kind, policy, rounds=flags.rounds, repeats=flags.repeats, compiled=flags.compiled)
    rows.append(Row("2 million dictionary writes", calibration(), "s", "by which to compare machines"))
    publish("sim", rows)


def _rows(kind: str, policy: str, *, rounds: int, repeats: int, compiled: Path | None) -> list[Row]:
    config = f"{kind}, {rounds} at {RATE:.0f}/s, 8B on H100, 4P+4D, loads as live"
    plain, quick = [], []
    for _ in range(repeats):
        plain.append(_run(kind, policy, rounds, None))
        if compiled is not None:
            quick.append(_run(kind, policy, rounds, compiled))
    if len(found := {each.digest for each in plain + quick}) > 1:
        raise SystemExit(f"{policy}, {kind}: runs must agree to the bit, got digests {sorted(found)}")
    rows = [Row(f"rounds per CPU second, {policy}", _speed(plain), "1/s", config, Goal(">=", GOAL))]
    if quick:
        name = f"rounds per CPU second, {policy}, compiled"
        rows.append(Row(name, _speed(quick), "1/s", config, Goal(">=", GOAL)))
        rows.append(Row(f"compiled over plain, {policy}", _speed(quick) / _speed(plain), "x", config))
    return rows


def _speed(runs: list[Timed]) -> float:
    return max(each.rounds / each.cpu_seconds for each in runs)


def _run(kind: str, policy: str, rounds: int, compiled: Path | None) -> Timed:
    """In a process of its own, since a package is either compiled or not."""
    paths = [str(compiled)] if compiled is not None else []
    known = os.environ.get("PYTHONPATH", "")
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.sim", "--rounds", str(rounds), "--one", kind, policy],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([*paths, known] if known else paths)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return Timed(*json.loads(done.stdout))


if __name__ == "__main__":
    main()

"""Runs in a file, so that a comparison can be made in pieces, whenever the machine is calm.

Valid runs of the same sessions are not made again; invalid ones are, and stay if nothing better came. The
load of a trace is that of its first run in the file, searched or told.
"""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.policies.cell import Cell
from benchmarks.policies.clients import Outcome
from benchmarks.policies.figures import Machine, Run
from pdscale.model.slo import SLO

Key = tuple[str, str, int, str]


@dataclass(slots=True)
class Kept:
    """Without a ``path`` runs are kept for this comparison only."""

    path: Path | None = None
    _runs: dict[Key, Run] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.path is not None and self.path.exists():
            for document in json.loads(self.path.read_text()):
                run = _read(document)
                self._runs[_key(run)] = run

    def add(self, runs: Iterable[Run]) -> None:
        """An invalid run never takes the place of a valid one, nor of one that waited less for a core."""
        for run in runs:
            known = self._runs.get(_key(run))
            if known is None or (bool(run.invalid), run.machine.waited) <= (
                bool(known.invalid),
                known.machine.waited,
            ):
                self._runs[_key(run)] = run
        if self.path is not None:
            self.path.write_text(json.dumps([_document(run) for run in self._runs.values()]) + "\n")

    def lacks(self, cell: Cell) -> bool:
        run = self._runs.get((cell.trace, cell.load, cell.seed, cell.policy))
        return run is None or bool(run.invalid)

    def rate(self, trace: str) -> float | None:
        """Sessions per second; absent before the first run."""
        return next((float(run.load.split()[0]) for run in self._runs.values() if run.trace == trace), None)

    @property
    def runs(self) -> list[Run]:
        """By trace, load, policy and seed, whenever they were made."""
        return sorted(self._runs.values(), key=_key)


def _key(run: Run) -> Key:
    return run.trace, run.load, run.seed, run.policy


def _document(run: Run) -> dict[str, Any]:
    """Gaps to a tenth of a millisecond: what the clock of a loaded event loop is worth."""
    outcomes = [asdict(o) | {"gaps": [round(gap, 4) for gap in o.gaps]} for o in run.outcomes]
    placed = [[*where, count] for where, count in run.placements.items()]
    return asdict(run) | {"outcomes": outcomes, "placements": placed, "invalid": run.invalid}


def _read(document: dict[str, Any]) -> Run:
    outcomes = tuple(Outcome(**o | {"gaps": tuple(o["gaps"])}) for o in document["outcomes"])
    return Run(
        trace=document["trace"],
        policy=document["policy"],
        load=document["load"],
        seed=document["seed"],
        slo=SLO(**document["slo"]),
        outcomes=outcomes,
        machine=Machine(**document["machine"]),
        placements=Counter({(kind, reason): count for kind, reason, count in document["placements"]}),
    )

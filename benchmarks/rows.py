"""The one form in which every benchmark reports: rows to a JSON file, the same as a table on the terminal.

A row without a goal states a figure; a row that misses its goal stays in, marked. Nothing here fails a run:
what a figure means is for a reader to judge, and the machine may be busy.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal

from rich.console import Console
from rich.table import Table

from pdscale.model import quantiles

FOLDER: Final = Path("build/bench")


@dataclass(frozen=True, slots=True)
class Goal:
    """``value <= bound`` or ``value >= bound``."""

    kind: Literal["<=", ">="]
    bound: float

    def met_by(self, value: float) -> bool:
        return value <= self.bound if self.kind == "<=" else value >= self.bound

    def __str__(self) -> str:
        return f"{self.kind} {self.bound:g}"


@dataclass(frozen=True, slots=True)
class Row:
    """One figure: ``config`` says under which circumstances it was measured."""

    metric: str
    value: float
    unit: str
    config: str = ""
    goal: Goal | None = None

    @property
    def ok(self) -> bool | None:
        return None if self.goal is None else self.goal.met_by(self.value)


def publish(name: str, rows: Sequence[Row]) -> Path:
    """Write ``build/bench/NAME.json`` and print the table."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / f"{name}.json"
    records = [asdict(row) | {"goal": str(row.goal) if row.goal else None, "ok": row.ok} for row in rows]
    path.write_text(json.dumps(records, indent=1) + "\n")
    table = Table(title=f"bench {name}", title_justify="left")
    for column in ("metric", "value", "unit", "goal", "ok", "config"):
        table.add_column(column, justify="right" if column == "value" else "left")
    for record in records:
        verdict = {None: "", True: "yes", False: "NO"}[record["ok"]]
        table.add_row(
            record["metric"],
            f"{record['value']:.4g}",
            record["unit"],
            record["goal"] or "",
            verdict,
            record["config"],
        )
    Console(width=150).print(table)
    return path


def quantile(values: Sequence[float], share: float) -> float:
    """Of values in any order, at least one; defined as everywhere in the project."""
    return quantiles.quantile(sorted(values), share)


def median_and_worst(metric: str, seconds: Sequence[float], config: str) -> list[Row]:
    return [
        Row(f"{metric}, median", quantile(seconds, 0.5), "s", config),
        Row(f"{metric}, worst", max(seconds), "s", config),
    ]

"""Rows as text for people, as CSV and as JSON for programs.

People get one line per rule and load, the mean over seeds and the lowest and highest attainment among them;
programs get every run. JSON's fields are those of CSV; a figure that does not exist is null there and empty
here."""

import csv
import io
import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pdscale.scenarios.reading import written
from pdscale.scenarios.runs import Row
from pdscale.scenarios.settings import FIELDS, PlacementName, ScalingName, Settings
from pdscale.sim.judge import Spread

SCHEMA: Final = "pdscale.io/simulation/v1"


def record(row: Row) -> dict[str, Any]:
    """One run, flat. Seconds, bytes, shares of one; NaN as ``None``."""
    case, v = row.case, row.verdict
    found: dict[str, Any] = {
        "placement": str(case.placement),
        "scaling": str(case.scaling),
        "load": case.load,
        "seed": case.seed,
        "prefill": row.begin.prefill,
        "decode": row.begin.decode,
        "rounds": v.rounds,
        "served": v.served,
        "rate": v.rate,
        "attainment": v.attainment,
        "strict_attainment": v.strict_attainment,
        "ttft_attainment": v.ttft_attainment,
        "tpot_attainment": v.tpot_attainment,
        "goodput": v.goodput,
        **{f"ttft_{q}": getattr(v.ttft, q) for q in ("mean", "p50", "p90", "p99")},
        **{f"tpot_{q}": getattr(v.tpot, q) for q in ("mean", "p50", "p90", "p99")},
        "gpu_hours": v.gpu_hours,
        "changes": v.changes,
        "moved_bytes": row.moved_bytes,
        "local_share": v.local_share,
        "ended_at": row.ended_at,
    }
    return {k: None if isinstance(x, float) and math.isnan(x) else x for k, x in found.items()}


def as_json(settings: Settings, rows: Iterable[Row]) -> str:
    document = {"schema": SCHEMA, "settings": told(settings), "runs": [record(row) for row in rows]}
    return json.dumps(document, indent=2, allow_nan=False) + "\n"


def as_csv(rows: Iterable[Row]) -> str:
    records = [record(row) for row in rows]
    out = io.StringIO()
    writer = csv.DictWriter(out, fieldnames=list(records[0]) if records else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return out.getvalue()


def told(settings: Settings) -> dict[str, str | None]:
    """Settings as a scenario file would have them, those that were left alone included."""
    found = {field: getattr(settings, field.name.replace("-", "_")) for field in FIELDS}
    return {f.name: None if value in (None, ()) else written(f, value) for f, value in found.items()}


@dataclass(frozen=True, slots=True)
class Group:
    """All seeds of one rule at one load."""

    placement: PlacementName
    scaling: ScalingName
    load: float
    rows: tuple[Row, ...]

    @property
    def name(self) -> str:
        return self.rows[0].case.name

    @property
    def begin(self) -> str:
        fleets = sorted({str(row.begin) for row in self.rows})
        return fleets[0] if len(fleets) == 1 else f"{fleets[0]}.."

    def mean(self, figure: Callable[[Row], float]) -> float:
        """Over the seeds that have it; NaN if none does."""
        known = [x for x in map(figure, self.rows) if not math.isnan(x)]
        return math.fsum(known) / len(known) if known else math.nan


def grouped(rows: Sequence[Row]) -> list[Group]:
    """In the order in which rules and loads were asked for."""
    found: dict[tuple[PlacementName, ScalingName, float], list[Row]] = {}
    for row in rows:
        case = row.case
        found.setdefault((case.placement, case.scaling, case.load), []).append(row)
    return [Group(*key, tuple(group)) for key, group in found.items()]


Column = tuple[str, Callable[[Group], str]]


def _share(figure: Callable[[Row], float]) -> Callable[[Group], str]:
    return lambda g: _number(g.mean(figure) * 100, ".1f")


def _time(figure: Callable[[Row], float], unit: float, form: str) -> Callable[[Group], str]:
    return lambda g: _number(g.mean(figure) * unit, form)


def _spread(figures: Callable[[Row], Spread], unit: float, form: str) -> Callable[[Group], str]:
    def cell(group: Group) -> str:
        means = (group.mean(lambda r, q=q: getattr(figures(r), q)) for q in ("p50", "p90", "p99"))  # type: ignore[misc]
        return "/".join(_number(mean * unit, form) for mean in means)

    return cell


def _number(value: float, form: str) -> str:
    return "-" if math.isnan(value) else format(value, form)


def _range(group: Group) -> str:
    shares = [row.verdict.attainment * 100 for row in group.rows]
    return f"{min(shares):.1f}..{max(shares):.1f}"


COLUMNS: Final[tuple[Column, ...]] = (
    ("placement", lambda g: str(g.placement)),
    ("scaling", lambda g: str(g.scaling)),
    ("load", lambda g: f"{g.load:g}"),
    ("begins", lambda g: g.begin),
    ("both %", _share(lambda r: r.verdict.attainment)),
    ("strict %", _share(lambda r: r.verdict.strict_attainment)),
    ("TTFT %", _share(lambda r: r.verdict.ttft_attainment)),
    ("TPOT %", _share(lambda r: r.verdict.tpot_attainment)),
    ("TTFT P50/P90/P99 s", _spread(lambda r: r.verdict.ttft, 1, ".2f")),
    ("TPOT P50/P90/P99 ms", _spread(lambda r: r.verdict.tpot, 1e3, ".1f")),
    ("GPU-h", _time(lambda r: r.verdict.gpu_hours, 1, ".2f")),
    ("changes", lambda g: _number(g.mean(lambda r: r.verdict.changes), ".0f")),
    ("GB moved", _time(lambda r: r.moved_bytes, 1e-9, ".1f")),
    ("local %", _share(lambda r: r.verdict.local_share)),
)


def as_text(groups: Sequence[Group]) -> str:
    """A line per rule and load under a line of names; a single one as a list."""
    columns = list(COLUMNS)
    if any(len(group.rows) > 1 for group in groups):
        columns.insert(5, ("seeds", _range))
    if len(groups) == 1:
        return aligned([(name, cell(groups[0])) for name, cell in columns], left=1)
    cells = [[name for name, _ in columns], *([cell(g) for _, cell in columns] for g in groups)]
    return aligned(cells, left=2)


def aligned(cells: Sequence[Sequence[str]], *, left: int) -> str:
    """Columns as wide as their widest cell; the first ``left`` of them flush left."""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "".join(
        "  ".join(
            cell.ljust(width) if k < left else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        + "\n"
        for line in cells
    )

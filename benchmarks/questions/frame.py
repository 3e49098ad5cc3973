"""What a question's module is given and what it hands back, and how that is kept and shown.

A module of this package is a question if it has a function ``answer(given: Given) -> Answer``; nothing else
lists them. Answers are kept one file each, so that a question can be asked again without the others, and
``benchmarks.results`` shows whatever is kept. A goal that is missed stays in, marked.
"""

import json
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Final, TypeVar

from benchmarks.rows import Row
from pdscale.scenarios.reading import read_settings
from pdscale.scenarios.runs import mapped
from pdscale.scenarios.settings import Settings

FOLDER: Final = Path("build/questions")
_VERDICTS: Final = {None: "", True: "yes", False: "**NO**"}
_THINNED: Final = (
    "Thinned: with `--quick` excerpts are shorter and loads further apart, so a ratio says little beyond its "
    "first digit."
)
T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Given:
    """``traces`` and ``profiles`` are folders of files as docs/simulator.md has them. The first seed is the
    one that searches use. ``quick`` wants the same form from less: for trying out, not for publishing.
    ``sample`` is the most workloads that a question draws at random, 0 as many as it likes; ``parts`` are
    those of a question that has several, none named means all."""

    traces: Path
    profiles: Path
    seeds: tuple[int, ...] = (1, 2, 3)
    quick: bool = False
    jobs: int = 2
    sample: int = 0
    parts: tuple[str, ...] = ()

    def asks(self, part: str) -> bool:
        return not self.parts or part in self.parts

    def settings(self, **flags: str) -> Settings:
        """Of ``pdscale compare``, by its flags' names with _ for -; the seeds are ours."""
        return read_settings({"seed": ",".join(map(str, self.seeds))} | flags)

    def each(self, work: Callable[[T], R], tasks: Sequence[T]) -> list[R]:
        """``work`` on each task, in their order, ``jobs`` at a time. It must be a module's function or a
        ``partial`` of one, since it travels to other processes."""
        return list(mapped(work, tasks, jobs=self.jobs))


@dataclass(frozen=True, slots=True)
class Table:
    """Figures as they shall be read; ``caption`` says what the cells are."""

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.header):
                raise ValueError(
                    f"table {self.caption!r} must have {len(self.header)} cells a row, got {row}"
                )


@dataclass(frozen=True, slots=True)
class Answer:
    """``title`` begins with the question's number, by which sections are sorted. ``goals`` are met or missed;
    rows without a goal state a figure. ``notes`` say what the figures are of, and what went wrong."""

    title: str
    question: str
    tables: tuple[Table, ...]
    goals: tuple[Row, ...] = ()
    notes: tuple[str, ...] = field(default=())


def questions() -> dict[str, Callable[[Given], Answer]]:
    """By name, in the order of names."""
    package = import_module("benchmarks.questions")
    names = sorted(m.name for m in pkgutil.iter_modules(package.__path__) if m.name != "__main__")
    modules = {name: import_module(f"benchmarks.questions.{name}") for name in names}
    return {name: m.answer for name, m in modules.items() if hasattr(m, "answer")}


def read(path: Path) -> dict[str, Any]:
    """What ``keep`` has written."""
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document


def keep(name: str, answer: Answer, *, command: str, seconds: float, folder: Path = FOLDER) -> Path:
    """Write ``folder/NAME.json``. ``command`` is what to type for the same figures."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    document: dict[str, Any] = {
        "title": answer.title,
        "question": answer.question,
        "command": command,
        "seconds": round(seconds),
        "goals": [_goal(row) for row in answer.goals],
        "tables": [{"caption": t.caption, "header": t.header, "rows": t.rows} for t in answer.tables],
        "notes": answer.notes,
    }
    path.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return path


def shown(folder: Path = FOLDER) -> str:
    """All answers that are kept, as sections of a page; empty if there are none."""
    kept = [read(path) for path in sorted(folder.glob("*.json"))]
    return "\n".join(section(document) for document in sorted(kept, key=lambda d: str(d["title"])))


def section(document: dict[str, Any]) -> str:
    asked = f"`{document['command']}` ({document['seconds']} s)"
    parts = [f"## {document['title']}", document["question"], asked]
    if "--quick" in document["command"]:
        parts.append(_THINNED)
    if document["goals"]:
        header = ("metric", "value", "unit", "goal", "ok", "config")
        rows = [goal | {"ok": _told(goal)} for goal in document["goals"]]
        parts.append(_lined(header, [[str(row[column]) for column in header] for row in rows]))
    for table in document["tables"]:
        parts += [f"**{table['caption']}**", _lined(table["header"], table["rows"])]
    if document["notes"]:
        parts.append("\n".join(f"- {note}" for note in document["notes"]))
    return "\n\n".join(parts) + "\n"


def _told(goal: dict[str, Any]) -> str:
    """Met, or by how much not, in the row's unit."""
    if "NO" not in goal["ok"]:
        return str(goal["ok"])
    bound = float(goal["goal"].split()[-1])
    return f"{goal['ok']}, by {abs(float(goal['value']) - bound):.3g}"


def _goal(row: Row) -> dict[str, str]:
    return {
        "metric": row.metric,
        "value": f"{row.value:.4g}",
        "unit": row.unit,
        "goal": str(row.goal or ""),
        "ok": _VERDICTS[row.ok],
        "config": row.config,
    }


def _lined(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows))

"""A table of text as typed columns, with errors that name file, row, column, value and what was expected.

Traces and profiles share it. Rows count as an editor counts them: the header is row 1. An empty field means
"unknown" and is a value of its own: `floats` and `integers` take what stands for it, or refuse it when
nothing does. A table that cannot be read stops everything: a silently shortened one would make every figure
measured on it wrong. Whoever opens files hands lines in; this module does no I/O.
"""

import csv
import math
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

FIRST_ROW: Final = 2  # below the header, counted from 1
UNKNOWN: Final = math.nan
LARGEST: Final = 2**53  # beyond it a double no longer holds every integer


class TableError(ValueError):
    """The table cannot be used; the message names file, row and column."""


@dataclass(frozen=True, slots=True)
class Table:
    """Named columns of raw text. ``source`` is what errors call the table, mostly the file's path."""

    source: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def __contains__(self, column: str) -> bool:
        return column in self.columns

    def __len__(self) -> int:
        return len(self.rows)

    def require(self, *columns: str) -> None:
        for column in columns:
            if column not in self.columns:
                known = ", ".join(self.columns) or "none"
                raise TableError(f"{self.source}, row 1: column {column} is missing; there are: {known}")

    def texts(self, column: str) -> Sequence[str]:
        self.require(column)
        place = self.columns.index(column)
        return [row[place] for row in self.rows]

    def floats(self, column: str, *, least: float = 0.0, unknown: float | None = None) -> "array[float]":
        """The column as doubles of at least ``least``; an empty field becomes ``unknown``."""
        out = array("d")
        for index, text in enumerate(self.texts(column)):
            value = _float(text, unknown)
            if value is None:
                raise self.wrong(index, column, "a number")
            if text and not least <= value < math.inf:
                raise self.wrong(index, column, f"at least {least:g} and finite")
            out.append(value)
        return out

    def integers(self, column: str, *, least: int = 0, unknown: int | None = None) -> "array[int]":
        """The column as 64-bit integers of at least ``least``; an empty field becomes ``unknown``."""
        out = array("q")
        for index, text in enumerate(self.texts(column)):
            value = _float(text, unknown)
            if value is None or (text and not value.is_integer()):
                raise self.wrong(index, column, "a whole number")
            if text and not least <= value <= LARGEST:
                raise self.wrong(index, column, f"in {least}..{LARGEST}")
            out.append(int(value))
        return out

    def wrong(self, index: int, column: str, expected: str) -> TableError:
        """The error for data row ``index`` (0-based): what was expected of its value."""
        text = self.rows[index][self.columns.index(column)]
        return TableError(
            f"{self.source}, row {index + FIRST_ROW}, column {column}: must be {expected}, got {text!r}"
        )


def read_table(lines: Iterable[str], source: str) -> Table:
    """Parse CSV with a header. Rows of the wrong width and a header that repeats a name are refused."""
    reader = csv.reader(lines, strict=True)
    try:
        columns = tuple(next(reader, ()))
        _judge_header(columns, source)
        rows: list[tuple[str, ...]] = []
        for row in reader:
            if len(row) != len(columns):
                raise TableError(
                    f"{source}, row {len(rows) + FIRST_ROW}: must have {len(columns)} fields, got {len(row)}"
                )
            rows.append(tuple(row))
    except csv.Error as error:
        raise TableError(f"{source}, line {reader.line_num}: cannot be read as CSV: {error}") from error
    return Table(source, columns, tuple(rows))


def _judge_header(columns: tuple[str, ...], source: str) -> None:
    for name in columns:
        if columns.count(name) > 1:
            raise TableError(f"{source}, row 1: column {name} stands there {columns.count(name)} times")


def _float(text: str, unknown: float | None) -> float | None:
    """The number, or what stands for an empty field; ``None`` if there is neither."""
    try:
        return float(text) if text else unknown
    except ValueError:
        return None

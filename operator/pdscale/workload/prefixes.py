"""Which KV blocks a prompt begins with: the prefix hashes that go with a trace.

Line i of a ``*.hashes.jsonl`` file belongs to data row i and holds runs ``[[first, count], ...]`` of block
ids: ``[[0, 1], [14, 3]]`` is 0, 14, 15, 16. Equal ids are equal blocks with equal prefixes, so two prompts
share what their lists have in common from the start. Runs stay runs here: 34 000 agent prompts of 1000
blocks each take a few megabytes instead of hundreds.
"""

import json
import math
import statistics
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from pdscale.perf.table import TableError


@dataclass(frozen=True, slots=True)
class Prefixes:
    """Runs of block ids per row: row i owns the runs ``ends[i-1]..ends[i]`` of ``first`` and ``count``.

    ``block_tokens`` is the length of a block; a fraction once lengths have been scaled.
    """

    block_tokens: float
    first: "array[int]"
    count: "array[int]"
    ends: "array[int]"

    def __len__(self) -> int:
        return len(self.ends)

    def runs(self, row: int) -> list[tuple[int, int]]:
        """(first id, how many) of a row's runs."""
        start = self.ends[row - 1] if row else 0
        return [(self.first[i], self.count[i]) for i in range(start, self.ends[row])]

    def blocks(self, row: int) -> Iterator[int]:
        """Block ids of a row, first to last."""
        for first, count in self.runs(row):
            yield from range(first, first + count)

    def size(self, row: int) -> int:
        return sum(count for _, count in self.runs(row))

    def shared(self, row: int, other: int) -> int:
        """Leading blocks that two rows have in common."""
        total = 0
        mine, theirs = self.runs(row), self.runs(other)
        i = j = used = taken = 0
        while i < len(mine) and j < len(theirs):
            if mine[i][0] + used != theirs[j][0] + taken:
                break
            step = min(mine[i][1] - used, theirs[j][1] - taken)
            total, used, taken = total + step, used + step, taken + step
            if used == mine[i][1]:
                i, used = i + 1, 0
            if taken == theirs[j][1]:
                j, taken = j + 1, 0
        return total

    def take(self, rows: Sequence[int]) -> "Prefixes":
        """Those of the given rows, in their order."""
        return prefixes_of((self.runs(row) for row in rows), self.block_tokens)

    def scaled(self, factor: float) -> "Prefixes":
        """The same sharing in prompts ``factor`` times as long."""
        return replace(self, block_tokens=self.block_tokens * factor)


def prefixes_of(rows: Iterable[Iterable[tuple[int, int]]], block_tokens: float) -> Prefixes:
    if not 0 < block_tokens < math.inf:
        raise ValueError(f"prefixes.block_tokens must be above 0 and finite, got {block_tokens}")
    first, count, ends = array("q"), array("q"), array("q")
    for runs in rows:
        for start, length in runs:
            first.append(start)
            count.append(length)
        ends.append(len(first))
    return Prefixes(block_tokens, first, count, ends)


def read_prefixes(lines: Iterable[str], source: str, *, prompts: Sequence[int]) -> Prefixes:
    """Parse a hash file for rows with ``prompts`` tokens each; the block size follows from both.

    A row of n blocks has between n - 1 and n blocks' worth of tokens, rounded up; block sizes are powers of
    two.
    """
    rows = [_runs(line, number, source) for number, line in enumerate(lines, start=1)]
    if len(rows) != len(prompts):
        raise TableError(
            f"{source}: must have one line for each of the {len(prompts)} rows of its trace, got {len(rows)}"
        )
    return prefixes_of(rows, _block_tokens(rows, prompts))


def _runs(line: str, number: int, source: str) -> list[tuple[int, int]]:
    try:
        raw = json.loads(line)
    except json.JSONDecodeError as error:
        raise TableError(f"{source}, line {number}: is not JSON: {error.msg}, got {line[:40]!r}") from error
    if not isinstance(raw, list) or not all(_is_run(run) for run in raw):
        raise TableError(
            f"{source}, line {number}: must be [[first id, at least 1 block], ...], got {line.strip()[:40]!r}"
        )
    return [(first, count) for first, count in raw]


def _is_run(run: object) -> bool:
    whole = isinstance(run, list) and len(run) == 2 and all(type(x) is int for x in run)
    return whole and run[0] >= 0 and run[1] >= 1  # type: ignore[index]


def _block_tokens(rows: Sequence[Sequence[tuple[int, int]]], prompts: Sequence[int]) -> float:
    sizes = [sum(count for _, count in runs) for runs in rows]
    ratios = [tokens / size for tokens, size in zip(prompts, sizes, strict=True) if size >= 8]
    ratios = ratios or [tokens / size for tokens, size in zip(prompts, sizes, strict=True) if size]
    return float(2 ** round(math.log2(statistics.median(ratios)))) if ratios else 1.0

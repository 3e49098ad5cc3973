"""Sessions as a trace recorded them, before they are cut to size; or drawn from published figures.

A trace is a CSV file in gzip with a row per request: ``session_id``, ``timestamp_s``, ``input_tokens`` (the
whole prompt), ``output_tokens`` and, where the source has them, ``think_s`` and ``tool_wait_s``. A request
that does not go on where the one before it stopped begins a session of its own: an edited message or a
compacted context has no history that anybody could reuse, and so it is for the router.
"""

import csv
import gzip
import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

# A prompt may be this much shorter than history and answer together: templates and reasoning that is dropped.
_TRIMMED: Final = 256
_PER_TOKEN: Final = 0.03  # seconds; what an answer took where the trace says only when the next prompt came


@dataclass(frozen=True, slots=True)
class Turn:
    """``added`` tokens after history and answer, ``wait`` seconds after the last; an answer of so many."""

    added: int
    answer: int
    wait: float


@dataclass(frozen=True, slots=True)
class Recorded:
    """``start`` in seconds on the trace's clock; absent where the sessions have none in common."""

    name: str
    start: float | None
    turns: tuple[Turn, ...]


def read_trace(path: Path) -> list[Recorded]:
    """Sessions in order of start, else of name. Raises ``ValueError`` for a file that has none."""
    by_session: dict[str, list[Mapping[str, str]]] = defaultdict(list)
    with gzip.open(path, "rt", newline="") as file:
        for row in csv.DictReader(file):
            if row["session_id"]:
                by_session[row["session_id"]].append(row)
    if not by_session:
        raise ValueError(f"{path} must name sessions (session_id), and has none")
    shared_clock = len({rows[0]["timestamp_s"] for rows in by_session.values()}) > 1
    found = [
        Recorded(f"{name}.{n}", float(part[0]["timestamp_s"]) if shared_clock else None, tuple(_turns(part)))
        for name, rows in by_session.items()
        for n, part in enumerate(_unbroken(rows))
    ]
    return sorted(found, key=lambda s: (s.start or 0.0, s.name))


def published(seed: int, *, sessions: int = 4000) -> list[Recorded]:
    """Conversations with the figures published for Mooncake's trace (FAST 2025): prompts of 6.9 k in the
    median and 27 k at the 90th percentile, answers of 350, a third of all requests follow-ups after some two
    minutes, half of those a short message and the others documents of some thousand tokens."""
    rng, found = random.Random(seed), []
    for number in range(sessions):
        turns = [Turn(_lognormal(rng, 5300, 1.2), _lognormal(rng, 300, 0.7), 0.0)]
        while rng.random() < 0.36:
            added = _lognormal(rng, 24, 0.8) if rng.random() < 0.6 else _lognormal(rng, 2500, 1.0)
            turns.append(Turn(added, _lognormal(rng, 300, 0.7), rng.lognormvariate(4.7, 0.8)))
        found.append(Recorded(f"g{number}", number * 0.5 + rng.random(), tuple(turns)))
    return sorted(found, key=lambda s: (s.start or 0.0, s.name))


def _unbroken(rows: Sequence[Mapping[str, str]]) -> Iterator[list[Mapping[str, str]]]:
    part = [rows[0]]
    for last, row in pairwise(rows):
        if row["kind"] == "shared_prefix" or _growth(last, row) < -_TRIMMED:
            yield part
            part = []
        part.append(row)
    yield part


def _turns(rows: Sequence[Mapping[str, str]]) -> Iterator[Turn]:
    yield Turn(int(rows[0]["input_tokens"]), _answer(rows[0]), 0.0)
    for last, row in pairwise(rows):
        yield Turn(max(1, _growth(last, row)), _answer(row), _wait(last, row))


def _growth(last: Mapping[str, str], row: Mapping[str, str]) -> int:
    return int(row["input_tokens"]) - int(last["input_tokens"]) - int(last["output_tokens"])


def _answer(row: Mapping[str, str]) -> int:
    return max(1, int(row["output_tokens"]))


def _wait(last: Mapping[str, str], row: Mapping[str, str]) -> float:
    told = [float(row[name]) for name in ("think_s", "tool_wait_s") if row.get(name)]
    if told:
        return sum(told)
    apart = float(row["timestamp_s"]) - float(last["timestamp_s"])
    return max(0.0, apart - _PER_TOKEN * int(last["output_tokens"]))


def _lognormal(rng: random.Random, median: float, sigma: float) -> int:
    return max(1, round(median * rng.lognormvariate(0.0, sigma)))

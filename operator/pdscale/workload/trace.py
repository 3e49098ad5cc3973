"""A trace: one row per request, in typed columns.

Columns instead of objects because a day has a million rows; plain arrays instead of numpy because nothing
here needs more. "Unknown" is a value of its own: -1 in columns of counts, NaN in columns of seconds, never
zero. A trace is not edited: every operation makes another one.
"""

import math
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from pdscale.model.units import Seconds
from pdscale.workload.prefixes import Prefixes

UNKNOWN: Final = -1
KINDS: Final = ("root", "continuation", "shared_prefix", "tool_result", "user", "subagent_root")


class TimeBase(StrEnum):
    """What ``at`` counts from: the start of the trace, of the top-level session, or nothing (all unknown)."""

    TRACE = "trace"
    SESSION = "session"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Trace:
    """Requests in order of arrival (`TimeBase.TRACE`) or by session.

    ``prompt`` is the whole prompt as sent, ``cached`` the head of it that earlier prompts carried, both in
    tokens. ``session`` indexes ``sessions``, ``kind`` indexes `KINDS`; ``parents`` gives each session the
    index of the one that started it. Rows of a session are in order of arrival; ``round`` repeats where
    several branch off the same one.
    """

    source: str
    time_base: TimeBase
    at: "array[float]"
    prompt: "array[int]"
    output: "array[int]"
    cached: "array[int]"
    session: "array[int]"
    round: "array[int]"
    think: "array[float]"
    tool: "array[float]"
    kind: "array[int]"
    sessions: tuple[str, ...] = ()
    parents: tuple[int, ...] = ()
    prefixes: Prefixes | None = None

    def __post_init__(self) -> None:
        for name in COLUMNS:
            if len(getattr(self, name)) != len(self.at):
                raise ValueError(
                    f"trace {self.source}: column {name} must have {len(self.at)} rows, "
                    f"got {len(getattr(self, name))}"
                )
        if len(self.parents) != len(self.sessions):
            raise ValueError(f"trace {self.source}: parents must be as many as sessions")
        if self.prefixes is not None and len(self.prefixes) != len(self.at):
            raise ValueError(f"trace {self.source}: prefixes must have {len(self.at)} rows")

    def __len__(self) -> int:
        return len(self.at)

    @property
    def span(self) -> Seconds:
        """From the first arrival to the last; zero for fewer than two."""
        return max(self.at) - min(self.at) if len(self) and self.time_base is not TimeBase.NONE else 0.0

    def take(self, rows: Sequence[int]) -> "Trace":
        """The given rows in their order. Sessions keep their numbers."""

        def floats(column: "array[float]") -> "array[float]":
            return array("d", map(column.__getitem__, rows))

        def counts(column: "array[int]") -> "array[int]":
            return array("q", map(column.__getitem__, rows))

        return replace(
            self,
            at=floats(self.at),
            prompt=counts(self.prompt),
            output=counts(self.output),
            cached=counts(self.cached),
            session=counts(self.session),
            round=counts(self.round),
            think=floats(self.think),
            tool=floats(self.tool),
            kind=counts(self.kind),
            prefixes=self.prefixes and self.prefixes.take(rows),
        )

    def in_order(self) -> "Trace":
        """Rows by arrival; equal times keep their order."""
        at = self.at
        if all(at[i] <= at[i + 1] for i in range(len(at) - 1)):
            return self
        return self.take(sorted(range(len(at)), key=at.__getitem__))

    def rows_by_session(self) -> Iterator[tuple[int, list[int]]]:
        """(session, its rows) by first appearance; a row without one is a session -1 of its own."""
        groups: dict[int, list[int]] = {}
        for row, session in enumerate(self.session):
            groups.setdefault(session if session != UNKNOWN else -2 - row, []).append(row)
        for session, rows in groups.items():
            yield max(session, UNKNOWN), rows

    def top_level(self, session: int) -> int:
        """The session that started a session, directly or not."""
        for _ in self.sessions:
            if self.parents[session] == UNKNOWN:
                return session
            session = self.parents[session]
        raise ValueError(f"trace {self.source}: session {self.sessions[session]} descends from itself")


COLUMNS: Final = ("at", "prompt", "output", "cached", "session", "round", "think", "tool", "kind")


def open_trace(source: str, at: Sequence[float], prompt: Sequence[int], output: Sequence[int]) -> Trace:
    """A trace of independent requests, nothing else known about them."""
    count = len(at)
    nothing, never = array("q", [UNKNOWN]) * count, array("d", [math.nan]) * count
    return Trace(
        source=source,
        time_base=TimeBase.TRACE,
        at=array("d", at),
        prompt=array("q", prompt),
        output=array("q", output),
        cached=nothing,
        session=nothing,
        round=nothing,
        think=never,
        tool=never,
        kind=nothing,
    ).in_order()

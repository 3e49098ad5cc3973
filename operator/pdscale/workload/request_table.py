"""Request tables: one row per request, in the columns of the published traces.

    timestamp_s, input_tokens, output_tokens                  needed
    cached_tokens, new_tokens                                 either gives the other; both must agree
    session_id, round_index, parent_session_id, kind          sessions
    think_s, tool_wait_s                                      waits after the previous answer

Further columns are ignored. The files do not say what their times count from, so it is inferred: a file whose
top-level sessions (two or more) all begin at 0 counts from their starts. Whoever knows better says so.
"""

import math
from array import array
from collections.abc import Sequence
from typing import Final

from pdscale.perf.table import Table, TableError
from pdscale.workload.prefixes import read_prefixes
from pdscale.workload.trace import KINDS, UNKNOWN, TimeBase, Trace

NEEDED: Final = ("timestamp_s", "input_tokens", "output_tokens")


def read_requests(
    table: Table, *, time_base: TimeBase | None = None, hashes: tuple[str, Sequence[str]] | None = None
) -> Trace:
    """Parse a request table, and the (name, lines) of its hash file if it has one.

    With times from the start of the trace, the first request is moved to 0.
    """
    table.require(*NEEDED)
    if not len(table):
        raise TableError(f"{table.source}: holds no request")
    sessions, session = _sessions(table)
    parents = _parents(table, sessions, session)
    at = _times(table)
    base = time_base or _time_base(at, session, parents)
    if base is TimeBase.NONE and not math.isnan(at[0]):
        at = array("d", [math.nan]) * len(at)
    if base is TimeBase.TRACE:
        first = min(at)
        at = array("d", [t - first for t in at])
    prompt = table.integers("input_tokens", least=1)
    trace = Trace(
        source=table.source,
        time_base=base,
        at=at,
        prompt=prompt,
        output=table.integers("output_tokens"),
        cached=_cached(table, prompt),
        session=session,
        round=_rounds(table, session),
        think=_waits(table, "think_s"),
        tool=_waits(table, "tool_wait_s"),
        kind=_kinds(table),
        sessions=sessions,
        parents=parents,
        prefixes=read_prefixes(hashes[1], hashes[0], prompts=prompt) if hashes else None,
    )
    return trace.in_order() if base is TimeBase.TRACE else trace


def _times(table: Table) -> "array[float]":
    at = table.floats("timestamp_s", unknown=math.nan)
    known = sum(not math.isnan(t) for t in at)
    if 0 < known < len(at):
        missing = next(i for i, t in enumerate(at) if math.isnan(t))
        raise table.wrong(missing, "timestamp_s", "given where other rows have one")
    return at


def _time_base(at: Sequence[float], session: Sequence[int], parents: Sequence[int]) -> TimeBase:
    if math.isnan(at[0]):
        return TimeBase.NONE
    first: dict[int, float] = {}
    for t, s in zip(at, session, strict=True):
        if s != UNKNOWN and parents[s] == UNKNOWN:
            first[s] = min(t, first.get(s, t))
    return TimeBase.SESSION if len(first) > 1 and not any(first.values()) else TimeBase.TRACE


def _sessions(table: Table) -> tuple[tuple[str, ...], "array[int]"]:
    names: dict[str, int] = {}
    session = array("q", [UNKNOWN]) * len(table)
    if "session_id" in table:
        for i, name in enumerate(table.texts("session_id")):
            if name:
                session[i] = names.setdefault(name, len(names))
    return tuple(names), session


def _parents(table: Table, sessions: Sequence[str], session: Sequence[int]) -> tuple[int, ...]:
    parents = [UNKNOWN] * len(sessions)
    if "parent_session_id" in table:
        index = {name: i for i, name in enumerate(sessions)}
        for i, name in enumerate(table.texts("parent_session_id")):
            if name and session[i] != UNKNOWN:
                if name not in index or index[name] == session[i]:
                    raise table.wrong(i, "parent_session_id", "the session_id of another session")
                parents[session[i]] = index[name]
    return tuple(parents)


def _rounds(table: Table, session: Sequence[int]) -> "array[int]":
    """Given, or counted where the file has none. Rows that branch off the same one share their index."""
    given = table.integers("round_index", unknown=UNKNOWN) if "round_index" in table else None
    rounds = array("q", [UNKNOWN]) * len(table)
    counted: dict[int, int] = {}
    for i, s in enumerate(session):
        if s != UNKNOWN:
            count = counted[s] = counted.get(s, UNKNOWN) + 1
            rounds[i] = count if given is None or given[i] == UNKNOWN else given[i]
    return rounds


def _cached(table: Table, prompt: Sequence[int]) -> "array[int]":
    nothing = array("q", [UNKNOWN]) * len(table)
    cached = table.integers("cached_tokens", unknown=UNKNOWN) if "cached_tokens" in table else nothing[:]
    new = table.integers("new_tokens", unknown=UNKNOWN) if "new_tokens" in table else nothing
    for i, (whole, head, tail) in enumerate(zip(prompt, cached, new, strict=True)):
        if head > whole:
            raise table.wrong(i, "cached_tokens", f"at most input_tokens, {whole}")
        if tail != UNKNOWN and head != UNKNOWN and head + tail != whole:
            raise table.wrong(i, "new_tokens", f"input_tokens less cached_tokens, {whole - head}")
        if tail > whole:
            raise table.wrong(i, "new_tokens", f"at most input_tokens, {whole}")
        if head == UNKNOWN and tail != UNKNOWN:
            cached[i] = whole - tail
    return cached


def _waits(table: Table, column: str) -> "array[float]":
    if column not in table:
        return array("d", [math.nan]) * len(table)
    return table.floats(column, unknown=math.nan)


def _kinds(table: Table) -> "array[int]":
    kinds = array("q", [UNKNOWN]) * len(table)
    if "kind" in table:
        for i, name in enumerate(table.texts("kind")):
            if name and name not in KINDS:
                raise table.wrong(i, "kind", f"one of {', '.join(KINDS)}")
            kinds[i] = KINDS.index(name) if name else UNKNOWN
    return kinds

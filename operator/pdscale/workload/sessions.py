"""Sessions in closed loop: the next round comes a wait after the previous answer has ended.

An open-loop replay sends a follow-up when the trace says, even if its own history has not been answered
yet. Here a session is a start and a list of rounds, and a round is what it adds: new tokens, an answer, and
the wait before.

What a round finds cached on the replica that served the session so far (``history``) is the previous prompt
*and* the previous answer, of which a trace tells only the first, block-aligned. So: a round continues the
latest earlier one whose prompt its cached head covers up to a block, and finds that prompt and its answer;
else it finds its cached head.

Rows that branch off the same round (an edited turn, one document in several prompts) follow one another
here, as those of a chain do: a trace does not say whether they waited for each other.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pdscale.model.units import Seconds
from pdscale.workload.trace import KINDS, UNKNOWN, TimeBase, Trace

WIDEST_BLOCK: Final = 512  # tokens; the largest block size among the published traces
_GOES_ON: Final = frozenset(KINDS.index(k) for k in ("continuation", "tool_result", "user")) | {UNKNOWN}


@dataclass(frozen=True, slots=True)
class Round:
    """One request of a session.

    ``prompt`` tokens are sent, of which ``history`` were sent or answered in this session before, and
    ``common`` (beyond the history) begin other sessions' prompts too: only a cache that is shared holds
    them. At least one token is new. ``wait`` passes between the previous answer's end and this request,
    zero for the first round. ``row`` is the round's place in its trace.
    """

    prompt: int
    history: int
    common: int
    output: int
    wait: Seconds
    row: int

    @property
    def new(self) -> int:
        return self.prompt - self.history


@dataclass(frozen=True, slots=True)
class Session:
    """Rounds of one conversation or agent run, the first at ``start``. ``parent`` names who started it."""

    key: str
    start: Seconds
    rounds: tuple[Round, ...]
    parent: str | None = None


def sessions_of(trace: Trace, *, seconds_per_token: Seconds = 0.0) -> tuple[Session, ...]:
    """The trace's sessions by start; a request of no session is a session of one round.

    Where the trace has neither think nor tool time, the wait is what lies between two arrivals less the time
    the answer took, taken as ``seconds_per_token`` for each of its tokens; with the default of 0 the answer's
    time remains in the wait, and a replay is that much slower than the original.
    """
    if trace.time_base is TimeBase.SESSION:
        raise ValueError(f"trace {trace.source}: sessions need a common clock; start_sessions gives one")
    if trace.time_base is TimeBase.NONE:
        raise ValueError(f"trace {trace.source}: sessions need times, got none")
    out = []
    for session, rows in trace.rows_by_session():
        parent = trace.parents[session] if session != UNKNOWN else UNKNOWN
        out.append(
            Session(
                key=trace.sessions[session] if session != UNKNOWN else f"row-{rows[0]}",
                start=trace.at[rows[0]],
                rounds=tuple(_rounds(trace, rows, seconds_per_token)),
                parent=trace.sessions[parent] if parent != UNKNOWN else None,
            )
        )
    return tuple(sorted(out, key=lambda s: s.start))


def _rounds(trace: Trace, rows: Sequence[int], pace: Seconds) -> list[Round]:
    block = trace.prefixes.block_tokens if trace.prefixes else WIDEST_BLOCK
    out: list[Round] = []
    for k, row in enumerate(rows):
        prompt, cached = trace.prompt[row], max(0, trace.cached[row])
        history = _history(trace, rows[:k], row, block) if k else 0
        out.append(
            Round(
                prompt=prompt,
                history=history,
                common=max(0, min(cached, prompt - 1) - history),
                output=trace.output[row],
                wait=_wait(trace, rows[k - 1], row, pace) if k else 0.0,
                row=row,
            )
        )
    return out


def _history(trace: Trace, earlier: Sequence[int], row: int, block: float) -> int:
    cached, most = trace.cached[row], trace.prompt[row] - 1
    if trace.kind[row] in _GOES_ON and cached != UNKNOWN:
        for parent in reversed(earlier):
            if 0 <= trace.prompt[parent] - cached < block:
                return min(most, trace.prompt[parent] + trace.output[parent])
    return max(0, min(most, cached))


def _wait(trace: Trace, previous: int, row: int, pace: Seconds) -> Seconds:
    waits = [w for w in (trace.think[row], trace.tool[row]) if not math.isnan(w)]
    if waits:
        return sum(waits)
    return max(0.0, trace.at[row] - trace.at[previous] - pace * trace.output[previous])

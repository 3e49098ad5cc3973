"""Other traces from a trace: a part of it, more or less load, shorter prompts.

Load is scaled by moving the *starts* of sessions closer together and nothing else: think times, tool waits
and the gaps between rounds belong to people and programs and do not shrink because there are more of them.
Thinning keeps the tempo of the ups and downs and drops whole sessions; scaling keeps every request and
speeds the ups and downs up. Every function takes and returns `TimeBase.TRACE` unless it says otherwise, and
keeps token totals unless that is its purpose.
"""

import math
import random
from array import array
from collections.abc import Callable, Sequence
from dataclasses import replace

from pdscale.model.units import Seconds, Tokens
from pdscale.workload.trace import UNKNOWN, TimeBase, Trace


def start_sessions(trace: Trace, *, rate: float, rng: random.Random) -> Trace:
    """Give the top-level sessions of a `TimeBase.SESSION` trace Poisson starts, ``rate`` per second.

    They start in random order; sessions they started themselves keep their distance. The result counts from
    the start of the trace.
    """
    _expect(trace, TimeBase.SESSION)
    _positive("rate", rate)
    tops = sorted({trace.top_level(s) for s in trace.session if s != UNKNOWN})
    rng.shuffle(tops)
    now, starts = 0.0, {}
    for top in tops:
        starts[top] = now
        now += rng.expovariate(rate)
    at = array("d", (starts[trace.top_level(s)] + t for s, t in zip(trace.session, trace.at, strict=True)))
    return replace(trace, time_base=TimeBase.TRACE, at=at).in_order()


def excerpt(trace: Trace, *, start: Seconds, stop: Seconds) -> Trace:
    """Sessions that begin in [start, stop), whole, and single requests that arrive then; moved to begin at 0.

    A session cut in two would ask for a history that nobody holds, so its rounds after ``stop`` are kept.
    """
    _expect(trace, TimeBase.TRACE)
    if not 0 <= start < stop:
        raise ValueError(f"excerpt needs 0 <= start < stop, got {start} and {stop}")
    begins = _beginnings(trace)
    kept = trace.take([i for i, begin in enumerate(begins) if start <= begin < stop])
    return replace(kept, at=array("d", (t - start for t in kept.at)))


def scale_load(trace: Trace, factor: float) -> Trace:
    """``factor`` times as many session starts per second; what happens within a session keeps its pace."""
    _expect(trace, TimeBase.TRACE)
    _positive("factor", factor)
    begins = _beginnings(trace)
    at = array("d", (begin / factor + (t - begin) for t, begin in zip(trace.at, begins, strict=True)))
    return replace(trace, at=at).in_order()


def thin(trace: Trace, share: float, *, rng: random.Random) -> Trace:
    """Keep each top-level session, with all it started, with probability ``share``; single requests alike."""
    if not 0 < share <= 1:
        raise ValueError(f"thin.share must be in 0..1 and above 0, got {share}")
    chances: dict[int, bool] = {}
    kept = []
    for row, session in enumerate(trace.session):
        key = trace.top_level(session) if session != UNKNOWN else -2 - row
        if key not in chances:
            chances[key] = rng.random() < share
        if chances[key]:
            kept.append(row)
    return trace.take(kept)


def spread(trace: Trace, *, step: Seconds, rng: random.Random) -> Trace:
    """Undo a clock that ticks every ``step`` seconds: arrivals of one tick fall anywhere before the next.

    Rows of a session keep their order. Mooncake's clock ticks every 3 s.
    """
    _expect(trace, TimeBase.TRACE)
    _positive("step", step)
    at = array("d", (t + step * rng.random() for t in trace.at))
    for session, rows in trace.rows_by_session():
        if session != UNKNOWN:
            for row, t in zip(rows, sorted(at[r] for r in rows), strict=True):
                at[row] = t
    return replace(trace, at=at).in_order()


def scale_lengths(trace: Trace, factor: float) -> Trace:
    """All lengths ``factor`` times as long, at least 1 token; any time base.

    Rounded down, so that what was no longer than another stays so: a cached head never outgrows its prompt.
    Answers of 0 tokens stay. The prefix blocks shrink or grow with the lengths.
    """
    _positive("factor", factor)

    def scaled(lengths: Sequence[int]) -> "array[int]":
        return array("q", (max(1, int(n * factor)) if n > 0 else n for n in lengths))

    return replace(
        trace,
        prompt=scaled(trace.prompt),
        cached=scaled(trace.cached),
        output=scaled(trace.output),
        prefixes=trace.prefixes and trace.prefixes.scaled(factor),
    )


def fit_context(trace: Trace, *, most: Tokens, fits: float = 1.0) -> Trace:
    """Lengths scaled down by one factor until the share ``fits`` of the rows needs at most ``most`` tokens.

    A row needs its prompt and its answer. Sessions end before their first row that is still too long; single
    rows of that kind are left out. A trace that fits already comes back as it is.
    """
    if not 0 < fits <= 1:
        raise ValueError(f"fit_context.fits must be in 0..1 and above 0, got {fits}")
    if most < 2:
        raise ValueError(f"fit_context.most must be at least 2 tokens, got {most}")
    needs = sorted(p + o for p, o in zip(trace.prompt, trace.output, strict=True))
    longest = needs[math.ceil(fits * len(needs)) - 1]
    scaled = scale_lengths(trace, most / longest) if longest > most else trace
    return cut_sessions(scaled, lambda row: scaled.prompt[row] + scaled.output[row] > most)


def cut_sessions(trace: Trace, ends: Callable[[int], bool]) -> Trace:
    """End each session before its first row for which ``ends`` is true."""
    left_out = set()
    for _, rows in trace.rows_by_session():
        first = next((k for k, row in enumerate(rows) if ends(row)), len(rows))
        left_out.update(rows[first:])
    return trace.take([row for row in range(len(trace)) if row not in left_out]) if left_out else trace


def _beginnings(trace: Trace) -> list[float]:
    """When the top-level session of each row began; for a single request, when it arrived."""
    first: dict[int, float] = {}
    tops = [trace.top_level(s) if s != UNKNOWN else UNKNOWN for s in trace.session]
    for top, t in zip(tops, trace.at, strict=True):
        if top != UNKNOWN:
            first[top] = min(t, first.get(top, t))
    return [first[top] if top != UNKNOWN else t for top, t in zip(tops, trace.at, strict=True)]


def _expect(trace: Trace, base: TimeBase) -> None:
    if trace.time_base is not base:
        hint = "; start_sessions gives it a common clock" if trace.time_base is TimeBase.SESSION else ""
        raise ValueError(f"trace {trace.source}: times must be by {base}, got {trace.time_base}{hint}")


def _positive(name: str, value: float) -> None:
    if not 0 < value < math.inf:
        raise ValueError(f"{name} must be above 0 and finite, got {value}")

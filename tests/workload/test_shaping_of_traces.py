"""More or less load, parts and shorter prompts: what changes and what must not."""

import math
import random
from array import array
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdscale.workload.prefixes import prefixes_of
from pdscale.workload.shaping import (
    excerpt,
    fit_context,
    scale_lengths,
    scale_load,
    spread,
    start_sessions,
    thin,
)
from pdscale.workload.trace import UNKNOWN, TimeBase, Trace, open_trace

Rows = list[tuple[float, int, int, int]]  # arrival, session or -1, prompt, answer
rows = st.lists(
    st.tuples(st.floats(0, 1000), st.integers(-1, 3), st.integers(1, 9000), st.integers(0, 900)),
    min_size=1,
    max_size=30,
)
factors = st.floats(0.05, 20)


def trace_of(rows: Rows, base: TimeBase = TimeBase.TRACE) -> Trace:
    """Sessions a to d; c was started by a."""
    trace = open_trace("t", [r[0] for r in rows], [r[2] for r in rows], [r[3] for r in rows])
    order = sorted(range(len(rows)), key=lambda i: rows[i][0])
    return replace(
        trace,
        time_base=base,
        session=array("q", (rows[i][1] for i in order)),
        cached=array("q", (rows[i][2] // 2 for i in order)),
        sessions=("a", "b", "c", "d"),
        parents=(UNKNOWN, UNKNOWN, 0, UNKNOWN),
        prefixes=prefixes_of(([(0, 1 + rows[i][2] // 64)] for i in order), 64),
    )


def gaps_within_sessions(trace: Trace) -> dict[int, list[float]]:
    """Seconds from the start of the top-level session to each of its rows."""
    times: dict[int, list[float]] = {}
    for t, s in zip(trace.at, trace.session, strict=True):
        if s != UNKNOWN:
            times.setdefault(trace.top_level(s), []).append(t)
    return {s: [t - min(all_) for t in sorted(all_)] for s, all_ in times.items()}


def ordered(trace: Trace) -> bool:
    return list(trace.at) == sorted(trace.at)


@given(rows, factors)
def test_more_load_moves_starts_and_nothing_else(made: Rows, factor: float) -> None:
    trace = trace_of(made)
    scaled = scale_load(trace, factor)
    assert ordered(scaled)
    assert sorted(scaled.prompt) == sorted(trace.prompt)
    assert sum(scaled.output) == sum(trace.output)
    before, after = gaps_within_sessions(trace), gaps_within_sessions(scaled)
    assert before.keys() == after.keys()
    for session, gaps in before.items():
        assert after[session] == pytest.approx(gaps, abs=1e-9)


def test_twice_the_load_starts_sessions_twice_as_often() -> None:
    trace = trace_of([(0, 0, 10, 1), (4, 0, 12, 1), (10, 1, 10, 1), (20, -1, 9, 1)])
    assert list(scale_load(trace, 2).at) == [0, 4, 5, 10]


@given(rows, st.floats(0, 900), st.floats(1, 500))
def test_an_excerpt_holds_whole_sessions_in_order(made: Rows, start: float, seconds: float) -> None:
    trace = trace_of(made)
    part = excerpt(trace, start=start, stop=start + seconds)
    assert ordered(part)
    assert len(part) <= len(trace)
    for session in set(part.session) - {UNKNOWN}:
        assert list(part.session).count(session) == list(trace.session).count(session)
    single = sum(
        s == UNKNOWN and start <= t < start + seconds for t, s in zip(trace.at, trace.session, strict=True)
    )
    assert list(part.session).count(UNKNOWN) == single


def test_an_excerpt_of_everything_is_everything() -> None:
    trace = trace_of([(0, 0, 10, 1), (5, -1, 9, 2)])
    assert list(excerpt(trace, start=0, stop=math.inf).at) == [0, 5]


@given(rows, st.floats(0.01, 1), st.integers(0, 99))
def test_thinning_keeps_or_drops_whole_families(made: Rows, share: float, seed: int) -> None:
    trace = trace_of(made)
    thinned = thin(trace, share, rng=random.Random(seed))
    assert ordered(thinned)
    kept = {trace.top_level(s) for s in thinned.session if s != UNKNOWN}
    family = [s for s in trace.session if s != UNKNOWN and trace.top_level(s) in kept]
    assert sorted(family) == sorted(s for s in thinned.session if s != UNKNOWN)
    assert list(thin(trace, 1.0, rng=random.Random(seed)).at) == list(trace.at)


@given(rows, factors)
def test_scaled_lengths_stay_in_order_and_a_cached_head_within_its_prompt(made: Rows, factor: float) -> None:
    trace = trace_of(made)
    scaled = scale_lengths(trace, factor)
    assert list(scaled.at) == list(trace.at)
    assert all(c <= p for c, p in zip(scaled.cached, scaled.prompt, strict=True))
    assert all(p >= 1 for p in scaled.prompt)
    by_length = sorted(range(len(trace)), key=trace.prompt.__getitem__)
    assert [scaled.prompt[i] for i in by_length] == sorted(scaled.prompt)
    assert all((a == 0) == (b == 0) for a, b in zip(trace.output, scaled.output, strict=True))
    assert abs(sum(scaled.prompt) - factor * sum(trace.prompt)) <= len(trace)
    assert scaled.prefixes is not None
    assert scaled.prefixes.block_tokens == 64 * factor


def test_unknown_lengths_stay_unknown() -> None:
    trace = open_trace("t", [0.0], [100], [10])
    assert list(scale_lengths(trace, 0.5).cached) == [UNKNOWN]


@given(rows, st.integers(2, 20_000), st.floats(0.3, 1))
def test_what_fits_a_context_fits(made: Rows, most: int, fits: float) -> None:
    trace = trace_of(made)
    fitted = fit_context(trace, most=most, fits=fits)
    assert all(p + o <= most for p, o in zip(fitted.prompt, fitted.output, strict=True))
    if max(p + o for p, o in zip(trace.prompt, trace.output, strict=True)) <= most:
        assert fitted is trace


def test_a_session_ends_before_its_first_round_that_is_too_long() -> None:
    trace = trace_of([(0, 0, 10, 1), (1, 0, 90, 1), (2, 0, 20, 1), (3, -1, 95, 1), (4, -1, 11, 1)])
    fitted = fit_context(trace, most=50, fits=0.5)  # the median needs 21 tokens: nothing is scaled
    assert list(fitted.prompt) == [10, 11]


def test_a_ticking_clock_is_undone_within_its_tick_and_sessions_keep_their_order() -> None:
    trace = trace_of([(3.0 * (i // 50), i % 3, 10 + i, 1) for i in range(200)])
    smooth = spread(trace, step=3, rng=random.Random(2))
    assert ordered(smooth)
    assert len(set(smooth.at)) == 200
    assert sorted(smooth.prompt) == sorted(trace.prompt)
    assert max(smooth.at) < max(trace.at) + 3
    for (_, before), (_, after) in zip(
        trace.rows_by_session(), sorted(smooth.rows_by_session()), strict=True
    ):
        assert [trace.prompt[r] for r in before] == [smooth.prompt[r] for r in after]


def test_sessions_get_starts_and_keep_their_pace() -> None:
    made: Rows = [(0, 0, 10, 1), (0, 1, 10, 1), (0, 3, 10, 1), (2, 2, 9, 1), (4, 0, 20, 1)]
    trace = trace_of(made, TimeBase.SESSION)
    started = start_sessions(trace, rate=0.1, rng=random.Random(4))
    assert started.time_base is TimeBase.TRACE
    assert ordered(started)
    assert min(started.at) == 0
    assert gaps_within_sessions(started)[0] == pytest.approx([0, 2, 4])
    assert list(started.at) == list(start_sessions(trace, rate=0.1, rng=random.Random(4)).at)
    assert list(started.at) != list(start_sessions(trace, rate=0.1, rng=random.Random(5)).at)


def test_a_trace_on_the_wrong_clock_is_refused_with_the_way_out() -> None:
    trace = trace_of([(0, 0, 10, 1), (0, 1, 10, 1)], TimeBase.SESSION)
    with pytest.raises(
        ValueError, match="times must be by trace, got session; start_sessions gives it a common"
    ):
        scale_load(trace, 2)
    with pytest.raises(ValueError, match="times must be by session, got trace"):
        start_sessions(replace(trace, time_base=TimeBase.TRACE), rate=1, rng=random.Random(0))


@pytest.mark.parametrize("factor", [0.0, -1.0, math.inf, math.nan])
def test_impossible_factors_are_refused(factor: float) -> None:
    trace = trace_of([(0, 0, 10, 1)])
    for change in (scale_load, scale_lengths):
        with pytest.raises(ValueError, match="factor must be above 0 and finite"):
            change(trace, factor)
    with pytest.raises(ValueError, match=r"share must be in 0..1 and above 0"):
        thin(trace, 1.5, rng=random.Random(0))
    with pytest.raises(ValueError, match="0 <= start < stop"):
        excerpt(trace, start=5, stop=5)
    with pytest.raises(ValueError, match="most must be at least 2"):
        fit_context(trace, most=1)
    with pytest.raises(ValueError, match=r"fits must be in 0..1"):
        fit_context(trace, most=10, fits=0)

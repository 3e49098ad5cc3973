"""Rate series, and the requests that follow them."""

import itertools
import math
import random
import statistics
from array import array

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pdscale.model.workload import NoData, Workload
from pdscale.perf.table import TableError, read_table
from pdscale.workload.arrivals import LengthLaw, arrivals, expand
from pdscale.workload.generators import (
    CHAT,
    SUMMARY,
    Phase,
    bursty,
    drifting,
    merged,
    phase_inversion,
    phased,
)
from pdscale.workload.rates import RateSeries, read_rates
from pdscale.workload.request_table import read_requests
from pdscale.workload.summary import summarise, workload_of

HEAD = "timestamp_s,window_s,requests_per_s,mean_input_tokens,mean_output_tokens,gap\n"
NINE = Phase(9, 1, CHAT)
PROMPT, OUTPUT = LengthLaw(500), LengthLaw(100)


def series(rows: str, head: str = HEAD) -> RateSeries:
    return read_rates(read_table((head + rows).splitlines(), "r.csv"))


def test_a_gap_is_no_data_and_an_idle_window_is_zero() -> None:
    made = series("0,600,2,300,90,0\n600,600,0,,,1\n1200,600,0.1,,,2\n1800,600,0,,,0\n")
    assert list(made.rate)[0::3] == [2.0, 0.0]
    assert [math.isnan(r) for r in made.rate] == [False, True, True, False]
    assert made.prompt[0] == 300
    assert math.isnan(made.output[1])


def test_token_rates_give_mean_lengths_where_there_are_no_means() -> None:
    head = "timestamp_s,window_s,requests_per_s,input_tokens_per_s,output_tokens_per_s\n"
    made = series("0,600,20,50000,\n600,600,0,50,\n", head)
    assert made.prompt[0] == 2500
    assert math.isnan(made.prompt[1])
    assert math.isnan(made.output[0])


def test_a_part_of_a_series_begins_at_zero() -> None:
    made = (
        series("0,600,2,300,90,0\n600,600,4,,,0\n1200,600,6,,,0\n").excerpt(start=600, stop=1800).scaled(0.5)
    )
    assert list(made.at) == [0, 600]
    assert list(made.rate) == [2, 3]
    with pytest.raises(ValueError, match=r"no window begins in 5000..6000 s"):
        made.excerpt(start=5000, stop=6000)
    with pytest.raises(ValueError, match="factor must be above 0"):
        made.scaled(0)


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        pytest.param("", "r.csv: holds no window", id="empty"),
        pytest.param("0,600,x,1,1,0\n", "row 2, column requests_per_s: must be a number, got 'x'", id="text"),
        pytest.param("0,600,-1,1,1,0\n", "row 2, column requests_per_s: must be at least 0", id="negative"),
        pytest.param("0,0,1,1,1,0\n", "row 2, column window_s: must be at least 1e-09", id="no-window"),
        pytest.param(
            "0,600,1,1,1,0\n500,600,1,1,1,0\n",
            "row 3, column timestamp_s: must be at least 600, the end of the window before, got '500'",
            id="overlap",
        ),
    ],
)
def test_a_wrong_window_is_named(rows: str, says: str) -> None:
    with pytest.raises(TableError) as refused:
        series(rows)
    assert says in str(refused.value)


def test_requests_follow_rates_and_lengths_of_their_windows() -> None:
    made = series("0,1000,2,300,90,0\n1000,1000,8,600,,0\n2000,1000,0,,,1\n3000,1000,2,,,0\n")
    trace = expand(made, prompt=PROMPT, output=OUTPUT, rng=random.Random(1))
    in_window = [[i for i, t in enumerate(trace.at) if k * 1000 <= t < (k + 1) * 1000] for k in range(4)]
    assert [len(rows) for rows in in_window] == pytest.approx([2000, 8000, 0, 2000], rel=0.08)
    prompts = [statistics.fmean(trace.prompt[i] for i in rows) for rows in in_window if rows]
    assert prompts == pytest.approx([300, 600, 500], rel=0.1)
    outputs = [statistics.fmean(trace.output[i] for i in rows) for rows in in_window if rows]
    assert outputs == pytest.approx([90, 100, 100], rel=0.1)


def test_a_seed_repeats_its_requests() -> None:
    made = series("0,1000,2,300,90,0\n")
    one, same, other = (
        expand(made, prompt=PROMPT, output=OUTPUT, rng=random.Random(seed)) for seed in (1, 1, 2)
    )
    assert (list(one.at), list(one.prompt)) == (list(same.at), list(same.prompt))
    assert list(one.at) != list(other.at)


@pytest.mark.parametrize("cv", [0.3, 1.0, 3.0])
def test_gaps_have_the_asked_variation_and_leave_the_rate(cv: float) -> None:
    # 20 windows, so that borders are crossed often.
    at = [t for _, t in arrivals([(k * 1000.0, 1000.0, 2.0) for k in range(20)], cv=cv, rng=random.Random(6))]
    gaps = [b - a for a, b in itertools.pairwise(at)]
    assert len(at) == pytest.approx(40_000, rel=0.05)
    assert statistics.pstdev(gaps) / statistics.fmean(gaps) == pytest.approx(cv, rel=0.05)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.floats(0.1, 50), st.floats(0, 5)), max_size=6),
    st.floats(0.2, 4),
    st.integers(0, 99),
)
def test_arrivals_ascend_and_lie_in_their_spans(
    lengths: list[tuple[float, float]], cv: float, seed: int
) -> None:
    spans, start = [], 0.0
    for seconds, rate in lengths:
        spans.append((start, seconds, rate))
        start += seconds
    last = 0.0
    for which, t in arrivals(spans, cv=cv, rng=random.Random(seed)):
        begin, seconds, rate = spans[which]
        assert rate > 0
        assert begin <= t <= begin + seconds * (1 + 1e-9)
        assert t >= last
        last = t


def test_lengths_have_the_asked_mean_and_variation() -> None:
    rng = random.Random(8)
    drawn = [LengthLaw(400, cv=1.0).draw(rng) for _ in range(40_000)]
    assert statistics.fmean(drawn) == pytest.approx(400, rel=0.03)
    assert statistics.pstdev(drawn) / statistics.fmean(drawn) == pytest.approx(1, rel=0.06)
    assert LengthLaw(77, cv=0).draw(rng) == 77
    assert max(LengthLaw(400, most=500).draw(rng) for _ in range(999)) == 500


@pytest.mark.parametrize("law", [(0.0, 1.0, 9.0), (math.inf, 1.0, 9.0), (5.0, -1.0, 9.0), (5.0, 1.0, 0.0)])
def test_impossible_lengths_are_refused(law: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="length law needs a finite mean"):
        LengthLaw(*law)


def test_impossible_variation_is_refused() -> None:
    with pytest.raises(ValueError, match="cv must be above 0"):
        list(arrivals([(0, 1, 1)], cv=0, rng=random.Random(0)))


def test_phases_alternate_between_prefill_and_decode_work() -> None:
    trace = phase_inversion(Phase(600, 1.0, SUMMARY), Phase(600, 4.0, CHAT), cycles=2, rng=random.Random(3))
    means = [
        statistics.fmean(
            p for p, t in zip(trace.prompt, trace.at, strict=True) if k * 600 <= t < (k + 1) * 600
        )
        for k in range(4)
    ]
    assert means[0] > 15 * means[1]
    assert means[2] > 15 * means[3]
    assert trace.span == pytest.approx(2400, rel=0.01)


def test_a_drift_swaps_the_tasks_and_keeps_none_of_the_first() -> None:
    trace = drifting(Phase(3000, 1.0, SUMMARY), Phase(3000, 4.0, CHAT), steps=5, rng=random.Random(3))
    thirds = [
        statistics.fmean(
            p for p, t in zip(trace.prompt, trace.at, strict=True) if k * 600 <= t < (k + 1) * 600
        )
        for k in range(5)
    ]
    assert thirds == sorted(thirds, reverse=True)
    assert thirds[0] == pytest.approx(12_000, rel=0.15)
    assert thirds[4] == pytest.approx(550, rel=0.1)


def test_bursts_swing_between_nothing_and_twice_their_mean() -> None:
    trace = bursty(seconds=1800, steady_rate=1, burst_rate=10, rng=random.Random(9), burst_cv=1.0)
    counts = [sum(k * 600 <= t < (k + 1) * 600 for t in trace.at) for k in range(3)]
    # A raised cosine in three equal parts: 1 - 3 sqrt(3) / (4 pi) = 0.59 of the mean, 1.83, 0.59.
    assert counts == pytest.approx([600 + 3519, 600 + 10_962, 600 + 3519], rel=0.06)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda rng: Phase(0, 1, CHAT), "phase of chat needs seconds above 0"),
        (lambda rng: Phase(9, -1, CHAT), "rate of at least 0"),
        (
            lambda rng: phase_inversion(Phase(9, 1, CHAT), Phase(9, 1, CHAT), cycles=0, rng=rng),
            "at least 1, got 0",
        ),
        (lambda rng: drifting(Phase(9, 1, CHAT), Phase(9, 1, CHAT), steps=1, rng=rng), "at least 2, got 1"),
    ],
)
def test_impossible_workloads_are_refused(make: object, message: str) -> None:
    assert callable(make)
    with pytest.raises(ValueError, match=message):
        make(random.Random(0))


def test_traces_with_sessions_are_not_merged() -> None:
    head = "timestamp_s,session_id,input_tokens,output_tokens\n"
    trace = read_requests(read_table((head + "0,a,5,1\n").splitlines(), "t"))
    with pytest.raises(ValueError, match="traces with sessions cannot be merged"):
        merged([trace], source="m")


def test_a_summary_counts_rates_moments_rounds_and_reuse() -> None:
    head = "timestamp_s,session_id,input_tokens,cached_tokens,output_tokens\n"
    rows = "0,a,100,0,10\n1,b,300,0,30\n3,a,200,100,20\n4,a,400,200,0\n"
    summary = summarise(read_requests(read_table((head + rows).splitlines(), "t")))
    assert (summary.requests, summary.sessions) == (4, 2)
    assert summary.rate == pytest.approx(1.0)
    assert summary.prompt.mean == 250
    assert summary.prompt.squared == pytest.approx((1e4 + 9e4 + 4e4 + 16e4) / 4)
    assert (summary.prompt.p50, summary.prompt.largest) == (250, 400)
    assert summary.rounds_per_session == 2
    assert summary.follow_ups == 0.5
    assert summary.cached == pytest.approx(0.3)
    assert summary.interarrival_cv == pytest.approx(math.sqrt(2 / 9) / (4 / 3))
    assert workload_of(summary) == Workload(
        request_rate=1.0,
        context_tokens=250,
        uncached_tokens=175,
        uncached_tokens_squared=(1e4 + 9e4 + 1e4 + 4e4) / 4,
        output_tokens=15,
        output_tokens_squared=350,
    )


def test_what_a_trace_does_not_tell_is_no_data() -> None:
    trace = phased([Phase(100, 1, CHAT)], rng=random.Random(1))
    summary = summarise(trace)
    for figure in (summary.uncached, summary.cached, summary.rounds_per_session, summary.follow_ups):
        assert isinstance(figure, NoData)
    planned = workload_of(summary)
    assert isinstance(planned, Workload)
    assert planned.uncached_tokens == planned.context_tokens
    alone = summarise(trace.take([0]))
    assert isinstance(alone.rate, NoData)
    assert isinstance(workload_of(alone), NoData)
    with pytest.raises(ValueError, match="at least 1 request, got 0"):
        summarise(trace.take(array("q")))

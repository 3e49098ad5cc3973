"""What a trace amounts to: rates, moments of the lengths, rounds and reuse."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from pdscale.model.quantiles import quantile
from pdscale.model.units import Seconds, Tokens
from pdscale.model.workload import NoData, Workload
from pdscale.workload.trace import UNKNOWN, TimeBase, Trace


@dataclass(frozen=True, slots=True)
class Lengths:
    """Mean, raw second moment E[x^2] and quantiles of a length in tokens."""

    mean: Tokens
    squared: float
    p50: Tokens
    p90: Tokens
    p99: Tokens
    largest: Tokens


@dataclass(frozen=True, slots=True)
class Summary:
    """Figures of one trace; what its source does not tell is `NoData`.

    ``rate`` is requests per second of the span, ``interarrival_cv`` the coefficient of variation of the
    gaps. ``sessions`` counts those with an id; ``follow_ups`` is the share of requests that are not their
    session's first here, ``cached`` the share of prompt tokens that earlier prompts carried.
    """

    requests: int
    span: Seconds | NoData
    rate: float | NoData
    interarrival_cv: float | NoData
    prompt: Lengths
    uncached: Lengths | NoData
    output: Lengths
    sessions: int
    rounds_per_session: float | NoData
    follow_ups: float | NoData
    cached: float | NoData


def summarise(trace: Trace) -> Summary:
    """Figures of a trace of at least one request."""
    if not len(trace):
        raise ValueError(f"trace {trace.source}: a summary needs at least 1 request, got 0")
    clock = trace.time_base is TimeBase.TRACE and trace.span > 0
    unclocked = NoData("the trace's times do not count from a common start, or span no time")
    with_session = [s for s in trace.session if s != UNKNOWN]
    sessions = len(set(with_session))
    alone = NoData("the source knows no sessions")
    reuse_known = UNKNOWN not in trace.cached
    no_reuse = NoData("the source does not say what was cached")
    uncached = [p - c for p, c in zip(trace.prompt, trace.cached, strict=True)] if reuse_known else []
    return Summary(
        requests=len(trace),
        span=trace.span if clock else unclocked,
        rate=len(trace) / trace.span if clock else unclocked,
        interarrival_cv=_gap_variation(trace.at) if clock and len(trace) > 2 else unclocked,
        prompt=_lengths(trace.prompt),
        uncached=_lengths(uncached) if reuse_known else no_reuse,
        output=_lengths(trace.output),
        sessions=sessions,
        rounds_per_session=len(with_session) / sessions if sessions else alone,
        follow_ups=1 - sessions / len(with_session) if sessions else alone,
        cached=1 - sum(uncached) / sum(trace.prompt) if reuse_known else no_reuse,
    )


def workload_of(summary: Summary) -> Workload | NoData:
    """The summary in the planner's terms. Without figures on reuse every prompt token counts as uncached."""
    if isinstance(summary.rate, NoData):
        return summary.rate
    uncached = summary.prompt if isinstance(summary.uncached, NoData) else summary.uncached
    return Workload(
        request_rate=summary.rate,
        context_tokens=summary.prompt.mean,
        uncached_tokens=uncached.mean,
        uncached_tokens_squared=uncached.squared,
        output_tokens=summary.output.mean,
        output_tokens_squared=summary.output.squared,
    )


def _lengths(values: Sequence[int]) -> Lengths:
    ordered = sorted(values)
    count = len(ordered)

    return Lengths(
        mean=sum(ordered) / count,
        squared=sum(v * v for v in ordered) / count,
        p50=quantile(ordered, 0.5),
        p90=quantile(ordered, 0.9),
        p99=quantile(ordered, 0.99),
        largest=ordered[-1],
    )


def _gap_variation(at: Sequence[float]) -> float:
    gaps = [later - earlier for earlier, later in itertools.pairwise(at)]
    mean = sum(gaps) / len(gaps)
    return math.sqrt(sum((g - mean) ** 2 for g in gaps) / len(gaps)) / mean

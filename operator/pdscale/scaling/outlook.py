"""What there will be to serve when a decision takes effect, each stage by what is known of it soonest.

Lengths are known of rounds that have ended. While the mix changes, these are not the rounds that arrive, and
a pool that is too small for the new ones keeps them from ending: rate x length would multiply two workloads.
So prefill is sized for the tokens of rounds that *arrive*, which routers estimate to place them, and decode
for the requests that are there; how many there will be, says their trend, or the rate's if the mix stays.
Rate x length is for who cannot see them.

Measured in a simulation, reasoning followed by summaries: 3.9 arrivals/s x 5000 tokens asked for 12 decode
replicas where one was needed, for ten minutes, while the prefill pool starved.
"""

import math
from dataclasses import dataclass, replace

from pdscale.model.plan import Reason
from pdscale.model.pools import Role
from pdscale.model.workload import NoData, Workload
from pdscale.scaling.crowd import fuller, growth_of, streams_ahead
from pdscale.scaling.demand import Streams
from pdscale.scaling.history import History, Lengths
from pdscale.scaling.level import burstiness_of
from pdscale.scaling.mix import (
    LENGTHS_WINDOW,
    NOW,
    lengths_of_arrivals,
    same_mix,
    window_of_now,
)
from pdscale.scaling.policy import Policy
from pdscale.scaling.rates import Predict, arrivals
from pdscale_forecaster.series import Forecast


@dataclass(frozen=True, slots=True)
class Outlook:
    """Prefill is sized for ``arriving``, decode for ``ended`` and ``streams``.

    ``backlog`` are rounds on prefill replicas, waiting ones included. Counts of arrivals scatter
    ``burstiness`` times as much as Poisson's. ``rising`` if more rounds are to come. ``risen`` are the
    roles that have more to do than a minute ago, and not by chance: arrivals tell of both, streams of decode.
    """

    arriving: Workload
    ended: Workload
    streams: Streams | None
    backlog: float
    burstiness: float
    rising: bool
    risen: frozenset[Role]
    forecast: Forecast | NoData
    reason: Reason
    note: str


def outlook(history: History, policy: Policy, predict: Predict) -> Outlook | NoData:
    """No data while no round has ended: nobody knows how long answers are."""
    now = window_of_now(history)
    coming, since = lengths_of_arrivals(history, now)
    ended = _ended(history, coming)
    if isinstance(ended, NoData):
        return ended
    same = coming is None or same_mix(history, coming, ended)
    burstiness = burstiness_of(history.request_rate)
    found = arrivals(history.request_rate, policy, predict, now=now, burstiness=burstiness)
    present, rate = found.present, found.ahead
    if not same:
        rate = present  # what was learnt of the rate was learnt of other rounds
    growth = growth_of(history, rate, present=present) if present and same else None
    streams = streams_ahead(history, policy, growth=growth, since=since)
    arriving = replace(ended, request_rate=rate)
    if coming is not None:
        arriving = _same(coming, arriving, lost=_lost(history, ended)) if same else _other(coming, arriving)
    reason, note = _told(found.forecast, rate, present=present, streams=streams)
    if coming is not None and not same:
        note += f", prompts of {coming.mean:.0f} arrive while {ended.uncached_tokens:.0f} end"
    return Outlook(
        arriving=arriving,
        ended=replace(ended, request_rate=rate),
        streams=streams,
        backlog=history.backlog() or 0.0,
        burstiness=burstiness,
        rising=found.rising,
        risen=frozenset(Role) if found.risen else _filling(history),
        forecast=found.forecast,
        reason=reason,
        note=note,
    )


def _filling(history: History) -> frozenset[Role]:
    return frozenset({Role.DECODE} if fuller(history) else ())


def _ended(history: History, coming: Lengths | None) -> Workload | NoData:
    """Lengths of the last minutes; of the last one if only they resemble what arrives; or of all there is."""
    recent = history.workload(window=LENGTHS_WINDOW)
    if isinstance(recent, NoData):
        return history.workload(window=math.inf)
    if coming is not None and not same_mix(history, coming, recent):
        latest = history.workload(window=NOW)
        if isinstance(latest, Workload) and same_mix(history, coming, latest, window=NOW):
            return latest
    return recent


def _lost(history: History, ended: Workload) -> float:
    """Times the estimate that rounds really had to compute: more than one where histories were evicted."""
    estimated = history.estimated(window=LENGTHS_WINDOW)
    return ended.uncached_tokens / estimated if estimated else 1.0


def _same(coming: Lengths, ended: Workload, *, lost: float) -> Workload:
    """A workload of ``ended``'s rate and answers whose prompts are those that come."""
    new = coming.mean * lost
    return replace(
        ended,
        context_tokens=max(ended.context_tokens, new),
        uncached_tokens=new,
        uncached_tokens_squared=coming.squared * lost * lost,
    )


def _other(coming: Lengths, ended: Workload) -> Workload:
    """The same of another kind: which of *these* will be prefilled locally or lose their history, nobody
    knows yet. (60 % of short prompts were local; of the long ones that followed a prefill pool of 2 was to
    serve a third, where 5 replicas were needed.)"""
    return replace(_same(coming, ended, lost=1.0), context_tokens=coming.mean, local_share=0.0)


def _told(
    forecast: Forecast | NoData, rate: float, *, present: float, streams: Streams | None
) -> tuple[Reason, str]:
    busy = "" if streams is None else f", {streams.count:.0f} streams"
    note = f"{present:.2f}/s now{busy}"
    if isinstance(forecast, NoData):
        return Reason.REACTIVE_DEMAND, f"{note}; no forecast: {forecast.reason}"
    ahead = (
        f"q{forecast.quantile * 100:g} in {forecast.horizon:g}s {forecast.value:.2f}/s by {forecast.model}"
    )
    return Reason.FORECAST_DEMAND, f"{note}, {ahead}, sized for {rate:.2f}/s"

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
from statistics import NormalDist
from typing import Final, Protocol

from pdscale.model.plan import Reason
from pdscale.model.units import Seconds
from pdscale.model.workload import NoData, Workload
from pdscale.scaling.history import History, Lengths
from pdscale.scaling.policy import Policy
from pdscale_forecaster.series import Forecast, Series, TooShort

NOW: Final[Seconds] = 60.0  # how far back "now" reaches at most: four samples at the default step of 15 s
SAMPLES: Final = 4  # or so many samples if these are less; one scatters twice as much
LENGTHS_WINDOW: Final[Seconds] = 300.0  # lengths move slowly; five minutes smooth a burst of long ones
ENOUGH_ROUNDS: Final = 100  # the mean of so many lengths of cv 1 is within 20 % (two standard errors)
CHANCE: Final = 3.0  # standard errors: a change by chance once in 700 looks, three hours of them
ALIKE: Final = 1.25  # mean prompts further apart than this factor are two workloads


class Predict(Protocol):
    """A forecast of one series, as ``pdscale_forecaster.forecast`` makes it."""

    def __call__(
        self, series: Series, *, horizon: float, quantile: float, model: str
    ) -> Forecast | TooShort: ...


@dataclass(frozen=True, slots=True)
class Outlook:
    """Prefill is sized for ``arriving``, decode for ``ended`` and ``streams``.

    ``backlog`` are rounds on prefill replicas, waiting ones included.
    """

    arriving: Workload
    ended: Workload
    streams: float | None
    backlog: float
    forecast: Forecast | NoData
    reason: Reason
    note: str


def outlook(history: History, policy: Policy, predict: Predict) -> Outlook | NoData:
    """No data while no round has ended: nobody knows how long answers are."""
    now = _window(history)
    coming = _lengths_of_arrivals(history, now)
    ended = _ended(history, coming)
    if isinstance(ended, NoData):
        return ended
    same = coming is None or _same_mix(history, coming, ended)
    present = _present(history, now)
    rate, forecast = _rate(history, policy, predict, present=present)
    if not same:
        rate = present  # what was learnt of the rate was learnt of other rounds
    streams = _streams(history, policy, growth=rate / present if present and same else None)
    arriving = replace(ended, request_rate=rate)
    if coming is not None:
        arriving = _of(coming, arriving, same=same, lost=_lost(history, ended))
    reason, note = _told(forecast, rate, present=present, streams=streams)
    if coming is not None and not same:
        note += f", prompts of {coming.mean:.0f} arrive while {ended.uncached_tokens:.0f} end"
    return Outlook(
        arriving=arriving,
        ended=replace(ended, request_rate=rate),
        streams=streams,
        backlog=history.backlog() or 0.0,
        forecast=forecast,
        reason=reason,
        note=note,
    )


def beyond_counting(forecast: Forecast, *, step: Seconds) -> float:
    """A forecast's quantile without what mere counting scatters, since sizing allows for that already.

    Poisson counts of rate m in steps of d seconds have variance m / d; taken away in quadrature:

        m + sqrt((q - m)^2 - z^2 m / d)                                                   (ours)

    4/s, 0.9-quantile 5.2/s, 15 s: 1.2^2 - 1.28^2 * 4 / 15 = 1.00 -> 5.0/s; 4.5/s instead of 5.2 -> 4/s.
    """
    middle = min(forecast.point, forecast.value)
    z = NormalDist().inv_cdf(forecast.quantile)
    spread = (forecast.value - middle) ** 2 - z * z * middle / step
    return middle + math.sqrt(max(0.0, spread))


def _window(history: History) -> Seconds:
    """How far back "now" reaches: a few samples, or less once enough rounds of another kind have come since.

    Whoever asks for a step of 1 s wants to be answered in seconds.
    """
    step = history.request_rate.step
    usual = min(NOW, SAMPLES * step)
    short = next((w for w in (step, 2 * step) if w < usual and _rounds(history, w) >= ENOUGH_ROUNDS), usual)
    newest, lately = history.arriving(window=short), history.arriving(window=usual)
    if newest is None or lately is None or _within(newest.mean, lately.mean):
        return usual
    return short


def _rounds(history: History, window: Seconds) -> float:
    seen = history.request_rate.last(window)
    return seen.step * math.fsum(v for v in seen.values if not math.isnan(v))


def _lengths_of_arrivals(history: History, now: Seconds) -> Lengths | None:
    """Of what arrives now, or of as long as it takes to see enough rounds."""
    windows = (now, NOW, 2 * NOW, LENGTHS_WINDOW)
    enough = (w for w in windows if _rounds(history, w) >= ENOUGH_ROUNDS)
    return history.arriving(window=next(enough, LENGTHS_WINDOW))


def _ended(history: History, coming: Lengths | None) -> Workload | NoData:
    """Lengths of the last minutes; of the last one if only they resemble what arrives; or of all there is."""
    recent = history.workload(window=LENGTHS_WINDOW)
    if isinstance(recent, NoData):
        return history.workload(window=math.inf)
    if coming is not None and not _same_mix(history, coming, recent):
        latest = history.workload(window=NOW)
        if isinstance(latest, Workload) and _same_mix(history, coming, latest, window=NOW):
            return latest
    return recent


def _same_mix(
    history: History, coming: Lengths, ended: Workload, *, window: Seconds = LENGTHS_WINDOW
) -> bool:
    """Whether arrivals resemble what ended, estimates compared with estimates where these are known."""
    estimated = history.estimated(window=window)
    return _within(coming.mean, ended.uncached_tokens if estimated is None else estimated)


def _lost(history: History, ended: Workload) -> float:
    """Times the estimate that rounds really had to compute: more than one where histories were evicted."""
    estimated = history.estimated(window=LENGTHS_WINDOW)
    return ended.uncached_tokens / estimated if estimated else 1.0


def _of(coming: Lengths, ended: Workload, *, same: bool, lost: float) -> Workload:
    """A workload of ``ended``'s rate and answers whose prompts are those that come."""
    new = coming.mean * lost
    return replace(
        ended,
        context_tokens=max(ended.context_tokens, new) if same else new,
        uncached_tokens=new,
        uncached_tokens_squared=coming.squared * lost * lost,
    )


def _within(a: float, b: float) -> bool:
    return max(a, b) <= ALIKE * min(a, b)


def _rate(
    history: History, policy: Policy, predict: Predict, *, present: float
) -> tuple[float, Forecast | NoData]:
    """Never below what arrives now: shedding what is in use is for the hold to decide."""
    found = predict(
        history.request_rate,
        horizon=policy.lead_time,
        quantile=policy.quantile,
        model=policy.forecast_model,
    )
    if isinstance(found, TooShort):
        return present, NoData(found.reason)
    return max(beyond_counting(found, step=history.request_rate.step), present), found


def _streams(history: History, policy: Policy, *, growth: float | None) -> float | None:
    """Requests on decode replicas a lead time from now, if they go on as in the last minute.

    What arrives less what ends; neither rate alone tells, since rounds wait for their prefill in between.
    120 now, 60 a minute ago, 75 s ahead: of the 60 more, sqrt(60^2 - 3^2 * 120) = 50 are no chance, so
    120 + 50 * 75 / 60 = 183. Or ``growth`` times as many, if that is more: streams follow the rate. They are
    expected to become fewer only where they are of a mix that comes no more (no ``growth``).
    """
    present, before = history.streams(), history.streams(ago=NOW)
    if present is None:
        return None
    scaled = present * (growth or 1.0)
    if before is None:
        return scaled
    changed = math.sqrt(max(0.0, (present - before) ** 2 - CHANCE**2 * max(present, before)))
    trend = math.copysign(changed, present - before) * policy.lead_time / NOW
    return max(0.0, present + trend) if growth is None else max(scaled, present + trend)


def _present(history: History, now: Seconds) -> float:
    known = [v for v in history.request_rate.last(now).values if not math.isnan(v)]
    if not known:
        known = [v for v in history.request_rate.values if not math.isnan(v)][-1:]
    return math.fsum(known) / len(known) if known else 0.0


def _told(
    forecast: Forecast | NoData, rate: float, *, present: float, streams: float | None
) -> tuple[Reason, str]:
    busy = "" if streams is None else f", {streams:.0f} streams"
    note = f"{present:.2f}/s now{busy}"
    if isinstance(forecast, NoData):
        return Reason.REACTIVE_DEMAND, f"{note}; no forecast: {forecast.reason}"
    ahead = (
        f"q{forecast.quantile * 100:g} in {forecast.horizon:g}s {forecast.value:.2f}/s by {forecast.model}"
    )
    return Reason.FORECAST_DEMAND, f"{note}, {ahead}, sized for {rate:.2f}/s"

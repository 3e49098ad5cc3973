"""DOPD-like: forecast the rate, divide by what a replica of each role carries, hold for a while.

Source: DOPD, "A Dynamic PD-Disaggregation Architecture for Maximizing Goodput" (TSC 2026): both stages'
rates are balanced, decode concurrency is limited by memory and by bandwidth within the TPOT limit,
adjustment is proactive from short-term history. Its equations, forecast and thresholds were not available:
those here are ours from its symbols. A damped trend (Holt; Gardner and McKenzie 1985) stands for the
forecast, a hold of 120 s, twice a start-up, for its care.

    prefill rate = rho / E[S]           E[S] with the second moment of uncached lengths, rho 0.85
    decode rate  = ccd / (E[OSL] step)  ccd the most streams of mean residency within memory and TPOT
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from pdscale.model.plan import Plan
from pdscale.model.pools import Targets
from pdscale.model.slo import SLO
from pdscale.model.units import Seconds
from pdscale.model.workload import NoData, Workload
from pdscale.perf.capacity import Capacity, Limit, prefill_service
from pdscale.perf.profile import Profile
from pdscale.scaling.demand import Demand
from pdscale.scaling.rivals.dynamo import largest_batch
from pdscale.scaling.rivals.reactive import cheapest_within
from pdscale.scaling.rivals.sighting import Limits, Sighting, current
from pdscale.scaling.stabilization import DownscaleWindow

PREFILL_LOAD: Final = 0.85
LEVEL_WEIGHT: Final = 0.5
TREND_WEIGHT: Final = 0.2
DAMPING: Final = 0.9


def damped_trend(values: Sequence[float], *, ahead: int) -> float:
    """Holt's level and damped trend, ``ahead`` steps on, never below 0. Unknown values are passed over.

    10, 20: level 0.5 * 20 + 0.5 * 10 = 15, trend 0.2 * 5 = 1; one step ahead 15 + 0.9 * 1 = 15.9.
    """
    known = [v for v in values if not math.isnan(v)]
    if not known:
        return math.nan
    level, trend = known[0], 0.0
    for value in known[1:]:
        expected = level + DAMPING * trend
        after = LEVEL_WEIGHT * value + (1 - LEVEL_WEIGHT) * expected
        trend = TREND_WEIGHT * (after - level) + (1 - TREND_WEIGHT) * DAMPING * trend
        level = after
    return max(0.0, level + trend * sum(DAMPING**k for k in range(1, ahead + 1)))


def balanced(workload: Workload, profile: Profile, slo: SLO, *, rate: float) -> Demand:
    """Fractional replicas of both stages for ``rate`` rounds per second."""
    service, _ = prefill_service(workload, profile)
    prefill = PREFILL_LOAD / service if service > 0 else math.inf
    out = workload.output_tokens
    decode, streams = math.inf, math.inf
    if out > 0:
        resident = workload.context_tokens + workload.output_tokens_squared / (2 * out)
        streams = largest_batch(profile, resident, slo.tpot)
        decode = streams / (out * profile.step_seconds(streams, streams * resident))
    return Demand(
        rate / prefill, rate / decode, Capacity(prefill, Limit.LOAD), Capacity(decode, Limit.TPOT, streams)
    )


@dataclass(slots=True)
class DOPD:
    """``lead`` is how far ahead it looks: a start-up and an interval."""

    limits: Limits
    profile: Profile
    slo: SLO
    lead: Seconds
    interval: Seconds = 15.0
    step: Seconds = 15.0
    sees: Seconds = 300.0
    window: DownscaleWindow = field(default_factory=lambda: DownscaleWindow(120.0))

    def decide(self, seen: Sighting, now: Seconds) -> Targets | None:
        past = seen.past(self.sees)
        if isinstance(past, NoData):
            return None
        workload = past.workload(window=self.sees)
        if isinstance(workload, NoData):
            return None
        rate = damped_trend(past.request_rate.values, ahead=max(1, math.ceil(self.lead / self.step)))
        plan = Plan(cheapest_within(balanced(workload, self.profile, self.slo, rate=rate), self.limits))
        return self.window.hold(plan, current=current(seen), now=now).targets

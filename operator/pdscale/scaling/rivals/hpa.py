"""Kubernetes' HorizontalPodAutoscaler, once for each role.

Source: the algorithm of Kubernetes' documentation (autoscaling/v2): replicas = ceil(current * metric /
target), nothing within a tolerance of 0.1, replicas that are starting count as idle when it would grow,
growth by at most 100 % or 4 pods in 15 s, shrinking to the highest recommendation of the last 300 s.

What it watches is left to who sets it up. Prefill: the share of time that a replica computes. Decode:
requests per replica, since an engine with one stream computes all the time too."""

import math
from dataclasses import dataclass, field
from typing import Final

from pdscale.model.plan import Plan
from pdscale.model.pools import PoolState, Role, Targets
from pdscale.model.units import Seconds
from pdscale.scaling.rivals.sighting import Limits, Sighting, at_work, current, pool
from pdscale.scaling.stabilization import DownscaleWindow

TOLERANCE: Final = 0.1
GROWTH_SHARE: Final = 1.0  # of the replicas, per 15 s
GROWTH_PODS: Final = 4


def by_ratio(state: PoolState, usage: float, *, tolerance: float = TOLERANCE) -> int:
    """Replicas for ``usage``, the ready replicas' mean metric over its target.

    4 ready at 1.5 times the target: 6. With 2 more starting: 1.5 * 4 / 6 = 1.0, within the tolerance: 6 stay.
    """
    if abs(usage - 1) <= tolerance or not state.ready:
        return state.desired
    if usage < 1 or not state.starting:
        return math.ceil(usage * state.ready - 1e-9)
    counted = state.ready + state.starting
    damped = usage * state.ready / counted
    if damped <= 1 + tolerance:
        return state.desired
    return max(state.desired, math.ceil(damped * counted - 1e-9))


def grown_at_most(state: PoolState, wanted: int) -> int:
    """The default scale-up policies: the more generous of the two counts."""
    return min(wanted, max(math.ceil(state.desired * (1 + GROWTH_SHARE)), state.desired + GROWTH_PODS))


def requests_per_replica(seen: Sighting) -> float:
    """Requests on decode replicas, waiting ones included; 0 without replicas."""
    found = at_work(seen, Role.DECODE)
    return sum(e.load.running + e.load.waiting for e in found) / len(found) if found else 0.0


@dataclass(slots=True)
class HPA:
    """``busy`` is the targeted share of prefill replicas' time, ``streams`` that of requests per decode
    replica."""

    limits: Limits
    streams: float
    busy: float = 0.7
    interval: Seconds = 15.0
    step: Seconds = 15.0
    window: DownscaleWindow = field(default_factory=lambda: DownscaleWindow(300.0))

    def decide(self, seen: Sighting, now: Seconds) -> Targets | None:
        usage = {
            Role.PREFILL: seen.busy[Role.PREFILL] / self.busy,
            Role.DECODE: requests_per_replica(seen) / self.streams,
        }
        return stabilised(seen, usage, window=self.window, limits=self.limits, now=now)


def stabilised(
    seen: Sighting, usage: dict[Role, float], *, window: DownscaleWindow, limits: Limits, now: Seconds
) -> Targets:
    """From usages over targets to what an autoscaler per role would set."""
    wanted = {r: grown_at_most(pool(seen, r), by_ratio(pool(seen, r), usage[r])) for r in Role}
    plan = Plan(limits.fit(Targets(wanted[Role.PREFILL], wanted[Role.DECODE])))
    return window.hold(plan, current=current(seen), now=now).targets

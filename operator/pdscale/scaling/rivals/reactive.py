"""Rules that size for what is there now, by the same performance model as ours: what a forecast must beat.

`Reactive`: the "20-line rule with a 90 s hold" that beat Dynamo's planner in its own simulator (project's
study of peers, run A). It grows at once and shrinks to the highest need of the last 90 s.

`FixedRatio`: the same need, but both pools grow and shrink together, as HeteroScale does (arXiv 2508.19559:
one signal, a kept ratio). Its signal is decode tokens per second; the need of the scarcer pool here is
kinder to it."""

import math
from dataclasses import dataclass, field

from pdscale.model.plan import Plan
from pdscale.model.pools import Role, Targets
from pdscale.model.slo import SLO
from pdscale.model.units import Seconds
from pdscale.model.workload import NoData
from pdscale.perf.profile import Profile
from pdscale.scaling.demand import Demand, demand_for
from pdscale.scaling.ratio import Infeasible, cheapest
from pdscale.scaling.rivals.sighting import Limits, Sighting, current, recent
from pdscale.scaling.stabilization import DownscaleWindow


def cheapest_within(demand: Demand, limits: Limits) -> Targets:
    """The smallest pair that carries a demand, or the one that carries most of it."""
    found = cheapest(
        demand, prefill=limits.prefill, decode=limits.decode, gpus=limits.gpus, budget=limits.budget
    )
    return found.best if isinstance(found, Infeasible) else found.targets


@dataclass(slots=True)
class Reactive:
    limits: Limits
    profile: Profile
    slo: SLO
    interval: Seconds = 15.0
    step: Seconds = 15.0
    sees: Seconds = 60.0
    window: DownscaleWindow = field(default_factory=lambda: DownscaleWindow(90.0))

    def decide(self, seen: Sighting, now: Seconds) -> Targets | None:
        workload = recent(seen, self.sees)
        if isinstance(workload, NoData):
            return None
        plan = Plan(cheapest_within(demand_for(workload, self.profile, self.slo), self.limits))
        return self.window.hold(plan, current=current(seen), now=now).targets


@dataclass(slots=True)
class FixedRatio:
    """``base`` gives the ratio: targets are its multiples, rounded up."""

    limits: Limits
    profile: Profile
    slo: SLO
    base: Targets
    interval: Seconds = 15.0
    step: Seconds = 15.0
    sees: Seconds = 60.0
    window: DownscaleWindow = field(default_factory=lambda: DownscaleWindow(300.0))

    def decide(self, seen: Sighting, now: Seconds) -> Targets | None:
        workload = recent(seen, self.sees)
        if isinstance(workload, NoData):
            return None
        plan = Plan(self.limits.fit(self.multiple(demand_for(workload, self.profile, self.slo))))
        return self.window.hold(plan, current=current(seen), now=now).targets

    def multiple(self, demand: Demand) -> Targets:
        """Base 2P+3D, need 3.0P and 3.0D: 1.5 times the base, 3P+5D."""
        needs = [demand.of(r) / self.base.of(r) for r in Role if self.base.of(r)]
        scale = max(needs, default=0.0)
        if math.isinf(scale):
            return Targets(self.limits.prefill.most, self.limits.decode.most)
        return Targets(*(math.ceil(scale * self.base.of(r) - 1e-9) for r in Role))

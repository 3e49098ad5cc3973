"""From one observation to one decision. The operator and the simulator call the same object."""

import math
from dataclasses import dataclass, field, replace
from typing import Final

from pdscale.model.plan import Plan, Reason
from pdscale.model.pools import PoolState, Targets
from pdscale.model.units import Seconds
from pdscale.model.workload import NoData, Workload
from pdscale.scaling.calibration import Calibration, Factors
from pdscale.scaling.demand import Demand, demand_for
from pdscale.scaling.history import History
from pdscale.scaling.holding import holds
from pdscale.scaling.limits import shrink_before_grow, within_bounds, within_budget
from pdscale.scaling.outlook import Outlook, outlook
from pdscale.scaling.pace import Pace
from pdscale.scaling.policy import Mode, Policy
from pdscale.scaling.rates import Predict
from pdscale.scaling.ratio import Infeasible, cheapest
from pdscale.scaling.stabilization import Confirmation, DownscaleWindow, settle, tolerate
from pdscale.scaling.surplus import beyond_need, needed_of, scheduled
from pdscale_forecaster.series import Forecast

AS_IT_IS: Final = NoData("the profile is taken as it is")
MOST_AGE_STEPS: Final = 6  # samples older than this many steps say nothing about now


@dataclass(frozen=True, slots=True)
class Observation:
    """Everything a decision looks at, taken at one instant."""

    prefill: PoolState
    decode: PoolState
    history: History | NoData

    @property
    def current(self) -> Targets:
        return Targets(self.prefill.desired, self.decode.desired)


@dataclass(frozen=True, slots=True)
class Decision:
    """What to write now, and everything that led there.

    ``apply`` is absent when nothing may be written (Paused, Recommend). ``wanted`` is where the plan is
    heading when the budget makes it go there in steps. ``factors`` are what the profile was corrected by.
    """

    plan: Plan
    wanted: Targets
    apply: Targets | None
    workload: Workload | NoData
    forecast: Forecast | NoData
    demand: Demand | NoData
    infeasible: Infeasible | None = None
    factors: Factors | NoData = AS_IT_IS


@dataclass(slots=True)
class Autoscaler:
    """One ServingDeployment's scaling: forecast, demand, ratio, limits, stabilisation."""

    predict: Predict
    _window: DownscaleWindow = field(default_factory=lambda: DownscaleWindow(0.0))
    _confirmation: Confirmation = field(default_factory=Confirmation)
    _pace: Pace = field(default_factory=Pace)
    _calibration: Calibration = field(default_factory=Calibration)

    def decide(self, policy: Policy, observation: Observation, now: Seconds) -> Decision:
        """Plan at ``now`` (epoch seconds, the clock of the history)."""
        start = Plan(observation.current)
        if policy.mode is Mode.PAUSED:
            paused = start.noting(Reason.PAUSED, "scaling.mode is Paused")
            return _nothing_known(paused, NoData("scaling is paused"))
        asked, policy = policy, scheduled(policy, now)
        if (policy.prefill, policy.decode) != (asked.prefill, asked.decode):
            floor = Targets(policy.prefill.least, policy.decode.least)
            start = start.noting(Reason.SCHEDULED, f"at least {floor} now")
        seen = _usable(observation.history, policy, now)
        if isinstance(seen, NoData):
            return self._finish(_held(start, Reason.NO_METRICS, seen), policy, observation, now)
        policy, start = self._calibrated(policy, seen, start)
        self._window.seconds = holds(policy, seen)
        expected = outlook(seen, policy, self.predict)
        if isinstance(expected, NoData):
            if _silent(seen):
                floor = Targets(policy.prefill.least, policy.decode.least)
                plan = start.then(Reason.NO_TRAFFIC_YET, floor, "no request in the whole history")
                plan = self._window.hold(plan, current=needed_of(observation.current, policy), now=now)
                plan = beyond_need(plan, expected, policy, current=observation.current)
                return self._finish(_nothing_known(plan, expected), policy, observation, now)
            return self._finish(_held(start, Reason.NO_TRAFFIC_YET, expected), policy, observation, now)
        return self._plan(start, expected, policy, observation, now)

    def _calibrated(self, policy: Policy, seen: History, plan: Plan) -> tuple[Policy, Plan]:
        """The policy with a profile that is as engines are, and a note where it was not."""
        if not policy.calibrate:
            return policy, plan
        factors = self._calibration.learn(seen, policy.profile, revision=policy.engines)
        if isinstance(factors, NoData) or factors == Factors():
            return policy, plan
        told = plan.noting(Reason.CALIBRATED, str(factors))
        return replace(policy, profile=factors.applied_to(policy.profile)), told

    def _plan(
        self, plan: Plan, expected: Outlook, policy: Policy, observation: Observation, now: Seconds
    ) -> Decision:
        demand = demand_for(
            expected.ended,
            policy.profile,
            policy.slo,
            streams=expected.streams,
            spread_over=observation.decode.ready,
            arriving=expected.arriving,
            backlog=expected.backlog,
            clear_in=policy.lead_time,
            burstiness=expected.burstiness,
        )
        split = cheapest(
            demand,
            prefill=policy.prefill,
            decode=policy.decode,
            gpus=policy.gpus,
            budget=policy.gpu_budget,
        )
        targets = split.best if isinstance(split, Infeasible) else split.targets
        reason, note = expected.reason, expected.note
        plan = plan.noting(reason, note) if targets == plan.targets else plan.then(reason, targets, note)
        if isinstance(split, Infeasible):
            carried = f"{split.constraint}; {split.share:.0%} of the demand is carried"
            plan = plan.noting(Reason.SLO_UNATTAINABLE, carried)
        if isinstance(split, Infeasible) and policy.allows(observation.current):
            plan = settle(plan, demand, current=observation.current, tolerance=policy.tolerance)
        current = needed_of(observation.current, policy)
        noise = 0.0 if expected.rising else policy.tolerance  # a replica for a rise would come too late
        plan = tolerate(plan, demand, current=current, tolerance=noise)
        plan = self._confirmation.confirm(plan, current=current, at_once=expected.risen)
        needed = plan.targets
        plan = self._window.hold(plan, current=current, now=now)
        plan = beyond_need(plan, demand, policy, current=observation.current, arriving=expected.arriving)
        decision = Decision(
            plan=plan,
            wanted=plan.targets,
            apply=None,
            workload=expected.arriving,
            forecast=expected.forecast,
            demand=demand,
            infeasible=split if isinstance(split, Infeasible) else None,
        )
        return self._finish(decision, policy, observation, now, needed=needed)

    def _finish(
        self,
        decision: Decision,
        policy: Policy,
        observation: Observation,
        now: Seconds,
        *,
        needed: Targets | None = None,
    ) -> Decision:
        """Pace, bounds, budget and mode: they hold whatever the stages before have said."""
        if policy.calibrate:
            decision = replace(decision, factors=self._calibration.factors)
        wanted, current = decision.plan.targets, observation.current
        allowed = self._pace.limit(wanted, policy.behavior, current=current, now=now)
        paced = decision.plan.then(Reason.PACED, allowed, f"behavior allows {allowed} now")
        aim, plan = limited(paced, policy, observation, needed=needed)
        wanted = aim.targets
        if policy.mode is Mode.RECOMMEND:
            plan = plan.noting(Reason.RECOMMEND_ONLY, "scaling.mode is Recommend")
            return replace(decision, plan=plan, wanted=wanted, apply=None)
        return replace(decision, plan=plan, wanted=wanted, apply=plan.targets)


def limited(
    plan: Plan, policy: Policy, observation: Observation, *, needed: Targets | None = None
) -> tuple[Plan, Plan]:
    """A plan within bounds and budget, and how far it may go now: for people's plans as for ours."""
    inside = within_bounds(plan, prefill=policy.prefill, decode=policy.decode)
    inside = within_budget(
        inside,
        prefill=policy.prefill,
        decode=policy.decode,
        gpus=policy.gpus,
        budget=policy.gpu_budget,
        needed=needed,
    )
    step = shrink_before_grow(
        inside,
        prefill=observation.prefill,
        decode=observation.decode,
        gpus=policy.gpus,
        budget=policy.gpu_budget,
        flips=policy.flips,
    )
    return inside, step


def _usable(history: History | NoData, policy: Policy, now: Seconds) -> History | NoData:
    if isinstance(history, NoData):
        return history
    age = history.age(now)
    if age > MOST_AGE_STEPS * policy.step:
        last = "never" if math.isinf(age) else f"{age:.0f}s ago"
        return NoData(f"the request rate was last known {last}, limit {MOST_AGE_STEPS} steps")
    return history


def _silent(history: History) -> bool:
    return all(math.isnan(v) or v == 0 for v in history.request_rate.values)


def _held(plan: Plan, reason: Reason, why: NoData) -> Decision:
    """Replicas stay: missing knowledge neither grows nor shrinks a pool."""
    return _nothing_known(plan.noting(reason, why.reason), why)


def _nothing_known(plan: Plan, why: NoData) -> Decision:
    return Decision(plan, plan.targets, None, why, why, why)

"""From one observation to one decision. The operator and the simulator call the same object."""

import math
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from pdscale.model.plan import Plan, Reason
from pdscale.model.pools import PoolState, Targets
from pdscale.model.units import Seconds
from pdscale.model.workload import NoData, Workload
from pdscale.scaling.demand import Demand, demand_for
from pdscale.scaling.history import History
from pdscale.scaling.limits import shrink_before_grow, within_bounds, within_budget
from pdscale.scaling.policy import Mode, Policy
from pdscale.scaling.ratio import Infeasible, cheapest
from pdscale.scaling.stabilization import DownscaleWindow, tolerate
from pdscale_forecaster.series import Forecast, Series, TooShort

LENGTHS_WINDOW: Final[Seconds] = 300.0  # lengths move slowly; five minutes smooth a burst of long ones
MOST_AGE_STEPS: Final = 6  # samples older than this many steps say nothing about now


class Predict(Protocol):
    """A forecast of one series, as ``pdscale_forecaster.forecast`` makes it."""

    def __call__(
        self, series: Series, *, horizon: float, quantile: float, model: str
    ) -> Forecast | TooShort: ...


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
    heading when the budget makes it go there in steps.
    """

    plan: Plan
    wanted: Targets
    apply: Targets | None
    workload: Workload | NoData
    forecast: Forecast | NoData
    demand: Demand | NoData
    infeasible: Infeasible | None = None


@dataclass(slots=True)
class Autoscaler:
    """One ServingDeployment's scaling: forecast, demand, ratio, limits, stabilisation."""

    predict: Predict
    _window: DownscaleWindow = field(default_factory=lambda: DownscaleWindow(0.0))

    def decide(self, policy: Policy, observation: Observation, now: Seconds) -> Decision:
        """Plan at ``now`` (epoch seconds, the clock of the history)."""
        start = Plan(observation.current)
        if policy.mode is Mode.PAUSED:
            paused = start.noting(Reason.PAUSED, "scaling.mode is Paused")
            return _nothing_known(paused, NoData("scaling is paused"))
        self._window.seconds = policy.scale_down_window
        seen = _usable(observation.history, policy, now)
        if isinstance(seen, NoData):
            return self._finish(_held(start, Reason.NO_METRICS, seen), policy, observation)
        workload = _workload(seen)
        if isinstance(workload, NoData):
            if _silent(seen):
                floor = Targets(policy.prefill.least, policy.decode.least)
                plan = start.then(Reason.NO_TRAFFIC_YET, floor, "no request in the whole history")
                plan = self._window.hold(plan, current=observation.current, now=now)
                return self._finish(_nothing_known(plan, workload), policy, observation)
            return self._finish(_held(start, Reason.NO_TRAFFIC_YET, workload), policy, observation)
        return self._plan(start, seen, workload, policy, observation, now)

    def _plan(
        self,
        plan: Plan,
        history: History,
        workload: Workload,
        policy: Policy,
        observation: Observation,
        now: Seconds,
    ) -> Decision:
        forecast = self._forecast(history, policy)
        streams = history.streams()
        expected, reason, note = _expected(workload, forecast, history, streams)
        demand = demand_for(expected, policy.profile, policy.slo, streams=streams)
        split = cheapest(
            demand,
            prefill=policy.prefill,
            decode=policy.decode,
            gpus=policy.gpus,
            budget=policy.gpu_budget,
        )
        targets = split.best if isinstance(split, Infeasible) else split.targets
        plan = plan.noting(reason, note) if targets == plan.targets else plan.then(reason, targets, note)
        if isinstance(split, Infeasible):
            carried = f"{split.constraint}; {split.share:.0%} of the demand is carried"
            plan = plan.noting(Reason.SLO_UNATTAINABLE, carried)
        current = observation.current
        plan = tolerate(plan, demand, current=current, tolerance=policy.tolerance)
        plan = self._window.hold(plan, current=current, now=now)
        decision = Decision(
            plan=plan,
            wanted=plan.targets,
            apply=None,
            workload=expected,
            forecast=forecast,
            demand=demand,
            infeasible=split if isinstance(split, Infeasible) else None,
        )
        return self._finish(decision, policy, observation)

    def _forecast(self, history: History, policy: Policy) -> Forecast | NoData:
        found = self.predict(
            history.request_rate,
            horizon=policy.lead_time,
            quantile=policy.quantile,
            model=policy.forecast_model,
        )
        return NoData(found.reason) if isinstance(found, TooShort) else found

    @staticmethod
    def _finish(decision: Decision, policy: Policy, observation: Observation) -> Decision:
        """Bounds, budget and mode: they hold whatever the stages before have said."""
        plan = within_bounds(decision.plan, prefill=policy.prefill, decode=policy.decode)
        plan = within_budget(
            plan,
            prefill=policy.prefill,
            decode=policy.decode,
            gpus=policy.gpus,
            budget=policy.gpu_budget,
        )
        wanted = plan.targets
        plan = shrink_before_grow(
            plan,
            prefill=observation.prefill,
            decode=observation.decode,
            gpus=policy.gpus,
            budget=policy.gpu_budget,
        )
        if policy.mode is Mode.RECOMMEND:
            plan = plan.noting(Reason.RECOMMEND_ONLY, "scaling.mode is Recommend")
            return replace(decision, plan=plan, wanted=wanted, apply=None)
        return replace(decision, plan=plan, wanted=wanted, apply=plan.targets)


def _usable(history: History | NoData, policy: Policy, now: Seconds) -> History | NoData:
    if isinstance(history, NoData):
        return history
    age = history.age(now)
    if age > MOST_AGE_STEPS * policy.step:
        last = "never" if math.isinf(age) else f"{age:.0f}s ago"
        return NoData(f"the request rate was last known {last}, limit {MOST_AGE_STEPS} steps")
    return history


def _workload(history: History) -> Workload | NoData:
    """Lengths of the last minutes, or of the whole history when those were quiet."""
    recent = history.workload(window=LENGTHS_WINDOW)
    if isinstance(recent, Workload):
        return recent
    return history.workload(window=math.inf)


def _silent(history: History) -> bool:
    return all(math.isnan(v) or v == 0 for v in history.request_rate.values)


def _expected(
    workload: Workload, forecast: Forecast | NoData, history: History, streams: float | None
) -> tuple[Workload, Reason, str]:
    """The workload to size for: never below what arrives now.

    A forecast below the present rate would shed capacity that is in use; the window decides about that.
    """
    present = _latest(history.request_rate)
    busy = "" if streams is None else f", {streams:.0f} streams"
    if isinstance(forecast, NoData):
        rate = max(workload.request_rate, present)
        note = f"{rate:.2f}/s now{busy}; no forecast: {forecast.reason}"
        return replace(workload, request_rate=rate), Reason.REACTIVE_DEMAND, note
    rate = max(forecast.value, present)
    note = (
        f"{present:.2f}/s now{busy}, q{forecast.quantile * 100:g} in {forecast.horizon:g}s "
        f"{forecast.value:.2f}/s by {forecast.model}"
    )
    return replace(workload, request_rate=rate), Reason.FORECAST_DEMAND, note


def _latest(series: Series) -> float:
    known = [v for v in series.values if not math.isnan(v)]
    return known[-1] if known else 0.0


def _held(plan: Plan, reason: Reason, why: NoData) -> Decision:
    """Replicas stay: missing knowledge neither grows nor shrinks a pool."""
    return _nothing_known(plan.noting(reason, why.reason), why)


def _nothing_known(plan: Plan, why: NoData) -> Decision:
    return Decision(plan, plan.targets, None, why, why, why)

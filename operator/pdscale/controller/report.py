"""What a tick leaves behind: the status and the Events, as pure functions of what it saw and did.

Nothing in a status moves while the world stands still. So figures are rounded, and a plan keeps its notes and
its time until its targets or reasons change.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pdscale.api.status import (
    Change,
    DemandsStatus,
    DemandStatus,
    ForecastStatus,
    GpuStatus,
    KvBlocksTtlStatus,
    PlanStatus,
    PlanStep,
    PoolStatus,
    ProfileStatus,
    Status,
    WorkloadStatus,
)
from pdscale.controller.conditions import AWAITING, READY, ROLLING, TELLING, Outcome, gpus_held, pool_of
from pdscale.controller.election import Writer
from pdscale.controller.pauses import Kept
from pdscale.kube.events import Event, Kind
from pdscale.kube.scale import ScaleWrite, after
from pdscale.kube.status import Condition, Json, merged, timestamp
from pdscale.model.plan import Plan
from pdscale.model.pools import Role
from pdscale.model.units import Seconds, format_duration
from pdscale.model.workload import NoData, Workload
from pdscale.perf.capacity import Capacity
from pdscale.scaling.autoscaler import Decision
from pdscale.scaling.calibration import Factors
from pdscale.scaling.demand import Demand
from pdscale_forecaster.series import Forecast

FLIPPED: Final = "RoleFlipped"
HISTORY: Final = 5  # changes that a status keeps; all of them are Events, too


def status(
    stored: Mapping[str, Any],
    found: Sequence[Condition],
    outcome: Outcome | None,
    *,
    generation: int,
    now: Seconds,
    writer: Writer | None = None,
) -> Json:
    """The whole new status. Without an outcome everything but the conditions stays as it is stored."""
    kept = {k: v for k, v in stored.items() if k not in ("conditions", "observedGeneration", "writer")}
    figures = kept if outcome is None else _figures(outcome, stored, now)
    listed = merged(stored.get("conditions") or (), found, generation=generation, at=now)
    told = {**figures, "observedGeneration": generation, "conditions": listed}
    return told if writer is None else {**told, "writer": {"holder": writer.holder, "term": writer.term}}


def events(stored: Mapping[str, Any], found: Sequence[Condition], outcome: Outcome | None) -> list[Event]:
    """Each write, and each condition that turned. What a new object lacks at first is no news."""
    before = {c["type"]: c["status"] for c in stored.get("conditions") or ()}
    told = [] if outcome is None else [_scaled(w, outcome.decision.plan) for w in outcome.written]
    told += [] if outcome is None else _proposed(stored, outcome) + _flipped(outcome)
    for condition in found:
        if condition.type in TELLING or condition.reason == AWAITING:
            continue
        old = before.get(condition.type)
        fresh_fault = old is None and condition.type == READY and condition.reason == "InvalidSpec"
        if fresh_fault or (condition.holds is False and old not in (None, "False")):
            text = condition.message or condition.type
            kind = Kind.NORMAL if condition.reason == ROLLING else Kind.WARNING
            told.append(Event(kind, condition.reason, text))
        elif condition.holds and old == "False":
            told.append(Event(Kind.NORMAL, condition.reason, condition.message or condition.type))
    return told


def figures(outcome: Outcome) -> dict[str, float | None]:
    """What is also a metric of the object, by the metric's name; None where nothing is known."""
    forecast, factors = outcome.decision.forecast, outcome.decision.factors
    return {
        "gpus_held": gpus_held(outcome),
        "gpu_budget": outcome.policy.gpu_budget,
        "overdue_pods": outcome.overdue,
        "attainment_target": outcome.policy.slo.attainment,
        "forecast_quantile": None if isinstance(forecast, NoData) else forecast.quantile,
        "forecast_coverage": None if isinstance(forecast, NoData) else forecast.coverage,
        "profile_prefill_factor": None if isinstance(factors, NoData) else factors.prefill,
        "profile_decode_factor": None if isinstance(factors, NoData) else factors.decode,
    }


def _proposed(stored: Mapping[str, Any], outcome: Outcome) -> list[Event]:
    asked = outcome.ruling.proposal
    if asked is None or asked.id == (stored.get("proposal") or {}).get("id"):
        return []
    text = f"{asked.id}: {outcome.observation.current} to {asked.targets}: {outcome.decision.plan.trail}"
    return [Event(Kind.NORMAL, "PlanProposed", text, action="Propose")]


def _flipped(outcome: Outcome) -> list[Event]:
    if outcome.flip is None:
        return []
    return [Event(Kind.NORMAL, FLIPPED, f"{outcome.flip}: {outcome.decision.plan.trail}", action="Flip")]


def _scaled(write: ScaleWrite, plan: Plan) -> Event:
    return Event(Kind.NORMAL, "Scaled", f"{write}: {plan.trail}", action="Scale")


def _figures(outcome: Outcome, stored: Mapping[str, Any], now: Seconds) -> Json:
    decision, ruling = outcome.decision, outcome.ruling
    figures = Status(
        prefill=_pool_status(outcome, Role.PREFILL),
        decode=_pool_status(outcome, Role.DECODE),
        gpus=GpuStatus(
            budget=outcome.policy.gpu_budget,
            held=gpus_held(outcome),
            allowed=None if outcome.share is None else outcome.share.allowed,
        ),
        forecast=_forecast_status(decision.forecast),
        workload=_workload_status(decision.workload),
        plan=_plan_status(decision, now),
        demand=_demand_status(decision.demand),
        profile=_profile_status(decision.factors),
        proposal=None if ruling.proposal is None else ruling.proposal.status,
        kv_blocks_ttl=_kv_blocks_ttl(outcome.kept),
        took_replicas=ruling.took or None,
    ).dump()
    stored_plan = stored.get("plan") or {}
    if _outline(figures["plan"]) == _outline(stored_plan):
        figures["plan"] = dict(stored_plan)
    if history := [*_changes(outcome, now), *(stored.get("history") or ())]:
        figures["history"] = history[:HISTORY]
    return {key: value for key, value in figures.items() if key != "conditions"}


def _kv_blocks_ttl(kept: Kept | None) -> KvBlocksTtlStatus | None:
    if kept is None:
        return None
    pause = None if kept.pause is None else f"{kept.pause:g}s"
    return KvBlocksTtlStatus(in_force=f"{kept.seconds}s", observed=pause)


def _changes(outcome: Outcome, now: Seconds) -> list[Json]:
    if not outcome.written:
        return []
    before = outcome.observation.current
    to = after(before, outcome.written)
    change = Change(
        time=timestamp(now),
        prefill=f"{before.prefill} -> {to.prefill}",
        decode=f"{before.decode} -> {to.decode}",
        reasons=[
            *(step.reason for step in outcome.decision.plan.steps),
            *([FLIPPED] if outcome.flip else []),
        ],
    )
    return [change.dump()]


def _demand_status(demand: Demand | NoData) -> DemandsStatus | None:
    if isinstance(demand, NoData):
        return None
    return DemandsStatus(
        prefill=_need(demand.prefill, demand.prefill_capacity),
        decode=_need(demand.decode, demand.decode_capacity),
    )


def _profile_status(factors: Factors | NoData) -> ProfileStatus | None:
    if isinstance(factors, NoData):
        return None
    return ProfileStatus(prefill_factor=round(factors.prefill, 2), decode_factor=round(factors.decode, 2))


def _need(replicas: float, one: Capacity) -> DemandStatus:
    return DemandStatus(
        replicas=_finite(replicas),
        request_rate=_finite(one.rate),
        limit=one.limit,
    )


def _pool_status(outcome: Outcome, role: Role) -> PoolStatus:
    pool, target = pool_of(outcome, role), outcome.targets.get(role)
    return PoolStatus(
        current=pool.ready + pool.starting + pool.unschedulable + pool.terminating,
        desired=pool.desired,
        ready=pool.ready,
        starting=pool.starting,
        draining=outcome.marked.of(role),
        terminating=pool.terminating,
        unschedulable=pool.unschedulable,
        summary=f"{pool.ready}/{pool.desired}",
        target=None if target is None else target.title,
    )


def _forecast_status(forecast: Forecast | NoData) -> ForecastStatus | None:
    if isinstance(forecast, NoData):
        return None
    return ForecastStatus(
        model=forecast.model,
        horizon=format_duration(forecast.horizon),
        quantile=forecast.quantile,
        request_rate=_rounded(forecast.value),
        coverage=None if forecast.coverage is None else round(forecast.coverage, 2),
    )


def _workload_status(workload: Workload | NoData) -> WorkloadStatus | None:
    if isinstance(workload, NoData):
        return None
    return WorkloadStatus(
        request_rate=_rounded(workload.request_rate),
        context_tokens=_rounded(workload.context_tokens),
        uncached_tokens=_rounded(workload.uncached_tokens),
        output_tokens=_rounded(workload.output_tokens),
        local_share=_rounded(workload.local_share),
    )


def _plan_status(decision: Decision, now: Seconds) -> PlanStatus:
    trail = [
        PlanStep(reason=s.reason, prefill=s.targets.prefill, decode=s.targets.decode, note=s.note or None)
        for s in decision.plan.steps
    ]
    return PlanStatus(
        prefill=decision.wanted.prefill, decode=decision.wanted.decode, trail=trail, time=timestamp(now)
    )


def _outline(plan: Mapping[str, Any]) -> tuple[Any, ...]:
    """A plan without its figures and its time: what makes it another plan."""
    steps = tuple((s["reason"], s["prefill"], s["decode"]) for s in plan.get("trail") or ())
    return plan.get("prefill"), plan.get("decode"), steps


def _finite(figure: float) -> float | None:
    """Rounded; None where it is beyond any number, for which JSON has no word."""
    return _rounded(figure) if math.isfinite(figure) else None


def _rounded(figure: float) -> float:
    """Three digits: 1234.5 -> 1230.0. More would make every tick a write."""
    return float(f"{figure:.3g}")

"""Verdicts on one tick: the conditions, as pure functions of what it saw and did.

Messages hold no ages and no figures that move by themselves: a changed message is a write to the API server
and an event for every watcher.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

from pdscale.controller.pauses import Kept
from pdscale.controller.rollout import SETTLED, Rollout
from pdscale.controller.ruling import Ruling
from pdscale.controller.say import APPROVE, PAUSED_REPLICAS, TAKE, Say
from pdscale.controller.sharing import Share
from pdscale.controller.trades import Obstacle
from pdscale.kube.flips import Flip
from pdscale.kube.scale import Owned, ScaleWrite
from pdscale.kube.status import Condition
from pdscale.kube.targets import Target
from pdscale.model.plan import Reason
from pdscale.model.pools import PoolState, Role, Targets
from pdscale.model.units import format_duration
from pdscale.model.workload import NoData
from pdscale.prom.sources import freshness
from pdscale.scaling.autoscaler import Decision, Observation
from pdscale.scaling.calibration import Factors
from pdscale.scaling.policy import Mode, Policy

READY: Final = "Ready"
METRICS: Final = "MetricsAvailable"
FORECAST: Final = "ForecastReady"
SCALING: Final = "ScalingActive"
BUDGET: Final = "BudgetSatisfied"
SLO: Final = "SLOAttainable"
PAUSED: Final = "Paused"
DRAINING: Final = "Draining"
ROLLED_OUT: Final = "RolledOut"
ALL: Final = (READY, METRICS, FORECAST, SCALING, BUDGET, SLO, PAUSED, DRAINING, ROLLED_OUT)
ROLE_FLIP: Final = "RoleFlipPossible"  # said only of objects that ask for flips
PROFILE: Final = "ProfileFits"  # said only where engines tell their pace
ROLLING: Final = "RollingOut"
NO_FLIPS: Final = Obstacle("Disabled", "scaling.roleFlip is Disabled")
AWAITING: Final = "AwaitingApproval"
NOBODY: Final = Targets(0, 0)
TELLING: Final = (PAUSED, DRAINING)  # where True is neither good nor bad: no Events of their own


@dataclass(frozen=True, slots=True)
class Outcome:
    """Everything that one tick saw, decided and did."""

    policy: Policy
    observation: Observation
    decision: Decision
    ruling: Ruling
    routers_ready: int
    routers_wanted: int = 1
    targets: Mapping[Role, Target] = field(default_factory=dict)
    written: tuple[ScaleWrite, ...] = ()
    refused: tuple[Owned, ...] = ()
    source: str | None = None
    draining: Mapping[Role, Collection[str]] = field(default_factory=dict)
    overdue: int = 0
    kept: Kept | None = None
    share: Share | None = None
    rollout: Rollout = SETTLED
    flip: Flip | None = None
    bar: Obstacle | None = NO_FLIPS

    @property
    def marked(self) -> Targets:
        """How many ready replicas take no new session."""
        count = {role: len(self.draining.get(role, ())) for role in Role}
        return Targets(count[Role.PREFILL], count[Role.DECODE])


def conditions(outcome: Outcome) -> tuple[Condition, ...]:
    return (
        _ready(outcome),
        _metrics(outcome),
        _forecast(outcome.decision),
        _scaling(outcome),
        _budget(outcome),
        _slo(outcome.decision),
        _paused(outcome),
        _draining(outcome),
        _rolled_out(outcome.rollout),
        *([] if outcome.bar is NO_FLIPS else [_role_flip(outcome.bar)]),
        *([] if isinstance(outcome.decision.factors, NoData) else [_profile(outcome.decision.factors)]),
    )


def invalid(message: str) -> tuple[Condition, ...]:
    """The spec says what nobody can do. Pools stay as they are; nothing else is known."""
    return _stopped("InvalidSpec", message)


def blocked(reason: str, message: str) -> tuple[Condition, ...]:
    """The children could not be brought about; somebody has to act."""
    return _stopped(reason, message)


def _stopped(reason: str, message: str) -> tuple[Condition, ...]:
    def one(kind: str) -> Condition:
        return Condition(kind, False if kind in (READY, SCALING) else None, reason, message)

    return tuple(one(kind) for kind in ALL)


def _ready(outcome: Outcome) -> Condition:
    lacking = [
        f"{role} {pool_of(outcome, role).ready} of at least {outcome.policy.bounds(role).least}"
        for role in Role
        if pool_of(outcome, role).ready < outcome.policy.bounds(role).least
    ]
    if lacking:
        return Condition(READY, False, "PoolsNotReady", f"replicas ready: {', '.join(lacking)}")
    if outcome.routers_ready < min(1, outcome.routers_wanted):
        return Condition(READY, False, "RouterNotReady", "no front router is ready")
    return Condition(READY, True, "PoolsReady", "both pools have their minReplicas")


def _metrics(outcome: Outcome) -> Condition:
    if outcome.policy.mode is Mode.PAUSED:
        return Condition(METRICS, None, "Paused", "scaling.mode is Paused: nobody asks")
    past = outcome.observation.history
    if isinstance(past, NoData):
        return Condition(METRICS, False, "MetricsUnreachable", f"{past.reason}; replicas are held")
    front, *others = freshness(past)
    source = outcome.source or "the metrics server"
    if any(step.reason is Reason.NO_METRICS for step in outcome.decision.plan.steps):
        why = f": {front.reason}" if not front.fresh else ""
        text = f"{source} has no fresh request rate{why}; replicas are held"
        return Condition(METRICS, False, "MetricsStale", text)
    lacking = [verdict.reason for verdict in others if not verdict.fresh]
    if lacking:
        text = f"{source} knows the request rate up to now; {', '.join(lacking)}"
        return Condition(METRICS, True, "MetricsPartial", text)
    return Condition(METRICS, True, "MetricsFresh", "all figures are known up to now")


def _forecast(decision: Decision) -> Condition:
    forecast = decision.forecast
    if isinstance(forecast, NoData):
        return Condition(FORECAST, False, "NoForecast", _ageless(forecast.reason))
    text = f"{forecast.model}, quantile {forecast.quantile:g}, {format_duration(forecast.horizon)} ahead"
    return Condition(FORECAST, True, "ForecastMade", text)


def _scaling(outcome: Outcome) -> Condition:
    if outcome.policy.mode is Mode.PAUSED:
        return Condition(SCALING, False, "Paused", "scaling.mode is Paused: no plans are made")
    if outcome.policy.mode is Mode.RECOMMEND:
        return Condition(SCALING, False, "RecommendOnly", "scaling.mode is Recommend: plans are only shown")
    if outcome.ruling.said.holds_all:
        return Condition(SCALING, False, "PausedByAnnotation", _held_by(outcome.ruling.said))
    if outcome.ruling.shared:
        return Condition(SCALING, False, "TargetShared", outcome.ruling.shared)
    if outcome.refused:
        text = "; ".join(
            f"{r.write.role}: {' and '.join(r.owners) or 'somebody else'} set the replicas"
            for r in outcome.refused
        )
        text += f"; the annotation {TAKE} with a new value takes them back"
        return Condition(SCALING, False, "ReplicasOwnedElsewhere", text)
    if outcome.ruling.asks:
        return _asking(outcome)
    return Condition(SCALING, True, "PlansApplied", "plans are applied")


def _asking(outcome: Outcome) -> Condition:
    proposed = outcome.ruling.proposal
    if proposed is None:
        return Condition(SCALING, True, "NothingToApprove", "scaling.mode is Approve: nothing has to change")
    if proposed.approved:
        return Condition(SCALING, True, "ApprovedPlanApplied", f"proposal {proposed.id} is applied")
    text = f"proposal {proposed.id} waits: {proposed.targets} instead of {outcome.observation.current}"
    return Condition(SCALING, False, AWAITING, f"{text}; the annotation {APPROVE} approves it")


def _paused(outcome: Outcome) -> Condition:
    said = outcome.ruling.said
    if outcome.policy.mode is Mode.PAUSED:
        return Condition(PAUSED, True, "ModePaused", "scaling.mode is Paused")
    if said.pauses:
        return Condition(PAUSED, True, "PausedByAnnotation", _held_by(said))
    return Condition(PAUSED, False, "NotPaused", "nothing keeps plans from being applied")


def _held_by(said: Say) -> str:
    text = f"set: {', '.join(said.pauses)}"
    if PAUSED_REPLICAS in said.pauses:
        text += "; its number is not taken, since there are two pools: replicas stay as they are"
    return text


def _draining(outcome: Outcome) -> Condition:
    """Marked replicas can still be kept, deleted ones cannot."""
    marked = [f"{outcome.marked.of(r)} {r}" for r in Role if outcome.marked.of(r)]
    going = [f"{pool_of(outcome, r).terminating} {r}" for r in Role if pool_of(outcome, r).terminating]
    told = [f"replicas that take no new sessions: {', '.join(marked)}"] if marked else []
    told += [f"pods that finish their work: {', '.join(going)}"] if going else []
    if not told:
        return Condition(DRAINING, False, "NoPodsTerminating", "no pod is going")
    return Condition(DRAINING, True, "ReplicasDrain" if marked else "PodsTerminating", "; ".join(told))


def _rolled_out(rollout: Rollout) -> Condition:
    if rollout.over:
        return Condition(ROLLED_OUT, True, "TemplatesInForce", "every pod has the template of the spec")
    behind = f"; after them: {' and '.join(rollout.waiting)}" if rollout.waiting else ""
    if rollout.stuck is not None:
        return Condition(ROLLED_OUT, False, "RolloutStuck", f"{rollout.rolling}: {rollout.stuck}{behind}")
    return Condition(ROLLED_OUT, False, ROLLING, f"{rollout.rolling} pods are replaced{behind}")


def _role_flip(bar: Obstacle | None) -> Condition:
    if bar is not None:
        return Condition(ROLE_FLIP, False, bar.reason, bar.message)
    return Condition(ROLE_FLIP, True, "RolesAlike", "a running replica can take either role")


def _profile(factors: Factors) -> Condition:
    if off := factors.at_bound:
        text = " and ".join(f"{role} engines take {factors.of(role):.3g} times what it says" for role in off)
        text += ", or are even further off: the profile is that of another engine; measure one"
        return Condition(PROFILE, False, "ProfileOfAnotherEngine", text)
    if factors == Factors():
        return Condition(PROFILE, True, "ProfileConfirmed", "engines are as fast as the profile says")
    text = "plans are made with the profile's times as engines take them: see status.profile"
    return Condition(PROFILE, True, "ProfileCorrected", text)


def _budget(outcome: Outcome) -> Condition:
    held, budget = gpus_held(outcome), outcome.policy.gpu_budget
    if held > budget:
        return Condition(BUDGET, False, "OverBudget", f"{held} GPUs are held, gpuBudget {budget}")
    share = outcome.share
    if share is not None and share.allowed < share.wanted:
        text = f"of ResourceQuota {share.quota} {share.allowed} of {share.cap} GPUs may be held here now"
        return Condition(BUDGET, True, "SharedBudgetLimits", f"{text}, wanted are {share.wanted}")
    if any(s.reason is Reason.SHRINK_BEFORE_GROW for s in outcome.decision.plan.steps):
        return Condition(BUDGET, True, "GrowthWaits", "a pool grows when the other's pods are gone")
    return Condition(BUDGET, True, "WithinBudget", f"at most {budget} GPUs are held")


def _slo(decision: Decision) -> Condition:
    if decision.infeasible is not None:
        return Condition(SLO, False, "SLOUnattainable", decision.infeasible.constraint)
    if isinstance(decision.demand, NoData):
        return Condition(SLO, None, "DemandUnknown", _ageless(decision.demand.reason))
    return Condition(SLO, True, "DemandCarried", "the planned replicas carry the expected demand")


def _ageless(reason: str) -> str:
    """Without the figures in it that grow by themselves: ``last known 93s ago`` is news every tick."""
    return reason if " ago" not in reason else "the request rate is too old"


def pool_of(outcome: Outcome, role: Role) -> PoolState:
    seen = outcome.observation
    return seen.prefill if role is Role.PREFILL else seen.decode


def gpus_held(outcome: Outcome) -> int:
    return sum(outcome.policy.gpus.of(role) * pool_of(outcome, role).holding for role in Role)

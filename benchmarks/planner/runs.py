"""One workload, one start-up, one seed: the best fleet that never changes, and every rule beginning with it.

Static fleets are searched in the very run that they are then judged on, and by the seed: hindsight that no
rule has. All rules begin with that fleet, which favours those that keep what they have.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

from pdscale.model.pools import Targets
from pdscale.scenarios.runs import Case, fleet_of, run_case
from pdscale.scenarios.settings import PlacementName, ScalingName, Settings
from pdscale.scenarios.traffic import traffic_of

STATIC: Final = ScalingName.STATIC
RULES: Final = (
    ScalingName.FIXED_RATIO,
    ScalingName.HPA,
    ScalingName.KEDA,
    ScalingName.KTHENA,
    ScalingName.DYNAMO_CLASSIC,
    ScalingName.REACTIVE,
    ScalingName.DOPD,
    ScalingName.PDSCALE,
    ScalingName.CLAIRVOYANT,
)
PLACEMENT: Final = PlacementName.COST_BASED


@dataclass(frozen=True, slots=True)
class Task:
    """``settings`` have one seed. ``best`` is the static fleet to begin with, absent until it is found."""

    workload: str
    settings: Settings
    scaling: ScalingName
    best: Targets | None = None

    @property
    def seed(self) -> int:
        return self.settings.seed[0]


@dataclass(frozen=True, slots=True)
class Ran:
    """Figures of one run. ``near`` is the share of time, after the first quarter, in which both pools are
    within one replica of the best static fleet."""

    workload: str
    start_up: float
    scaling: ScalingName
    seed: int
    best: Targets
    attainment: float
    strict: float
    gpu_hours: float
    changes: int
    hours: float
    near: float


def searched(task: Task) -> Targets:
    """The cheapest static fleet that attains the target, or the one that attains most.

    Looked for among those that have at most one replica of each role more than foresight ever held.
    """
    settings, traffic = task.settings, traffic_of(task.settings, task.seed)
    foresight = run_case(settings, Case(PLACEMENT, ScalingName.CLAIRVOYANT, 1.0, task.seed))
    most = settings.limits
    within = replace(
        settings,
        prefill=1,
        decode=1,
        max_prefill=most.prefill.clamp(1 + max(p for _, p, _ in foresight.curves.fleet)),
        max_decode=most.decode.clamp(1 + max(d for _, _, d in foresight.curves.fleet)),
    )
    return fleet_of(within, Case(PLACEMENT, ScalingName.ORACLE_STATIC, 1.0, task.seed), traffic)


def ran(task: Task) -> Ran:
    assert task.best is not None
    settings = replace(task.settings, prefill=task.best.prefill, decode=task.best.decode)
    last = traffic_of(task.settings, task.seed).last_start
    row = run_case(settings, Case(PLACEMENT, task.scaling, 1.0, task.seed, task.best))
    verdict = row.verdict
    return Ran(
        task.workload,
        settings.start_up,
        task.scaling,
        task.seed,
        task.best,
        verdict.attainment,
        verdict.strict_attainment,
        verdict.gpu_hours,
        verdict.changes,
        row.ended_at / 3600,
        near(row.curves.fleet, task.best, start=last / 4, stop=last),
    )


def near(fleet: Sequence[tuple[float, int, int]], best: Targets, *, start: float, stop: float) -> float:
    """Share of start..stop; replicas that start or drain count as there."""
    inside = 0.0
    for (at, prefill, decode), (until, _, _) in pairwise([*fleet, (stop, 0, 0)]):
        if abs(prefill - best.prefill) <= 1 and abs(decode - best.decode) <= 1:
            inside += max(0.0, min(stop, until) - max(start, at))
    return inside / (stop - start)

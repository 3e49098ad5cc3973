"""What the ratio formula loses against trying every split, on workloads drawn at random.

Eight replicas of an 8B model, one kind of request each time: lengths, their spread and the TPOT limit are
drawn (log-uniform), the formula says how to split, and every split is then searched for the largest rate that
it carries in the simulator. The second formula knows means only: what it loses more is what the second moment
of the lengths is worth to the *ratio*.
"""

import math
import random
from dataclasses import dataclass, replace
from typing import Final

from benchmarks.questions.frame import Answer, Given, Table
from benchmarks.rows import Goal, Row
from pdscale.model.pools import Targets
from pdscale.model.quantiles import quantile
from pdscale.model.workload import Workload
from pdscale.scaling.demand import Demand, demand_for
from pdscale.scenarios.building import scenario_of
from pdscale.scenarios.engines import models_of
from pdscale.scenarios.settings import PlacementName, ScalingName, Settings
from pdscale.sim.judge import judge
from pdscale.sim.search import largest_load
from pdscale.sim.simulation import simulate
from pdscale.sim.traffic import Traffic
from pdscale.workload.arrivals import LengthLaw
from pdscale.workload.generators import Phase, Task, phased
from pdscale.workload.sessions import sessions_of

REPLICAS: Final = 8
SPLITS: Final = tuple(Targets(p, REPLICAS - p) for p in range(1, REPLICAS))
WORKLOADS: Final = 100
ROUNDS: Final = 1500  # of a run at least; the first fifth only fills the fleet
SECONDS: Final = 60.0  # likewise; a run shorter than its queues can grow carries any rate
ANSWERS: Final = 3  # likewise, of the mean answer that a stream is found in: batches take one to fill
TARGET: Final = 0.9


@dataclass(frozen=True, slots=True)
class Point:
    """One drawn workload, with all that a process needs to try it."""

    settings: Settings
    task: Task
    seed: int


@dataclass(frozen=True, slots=True)
class Found:
    """Splits by both formulas, and the rate that each split carries; of those that carry less than 0.95
    times another, 0."""

    point: Point
    formula: Targets
    by_means: Targets
    rates: dict[Targets, float]

    @property
    def best(self) -> Targets:
        return max(self.rates, key=lambda split: self.rates[split])

    def loss(self, split: Targets) -> float:
        most = self.rates[self.best]
        return 1 - self.rates[split] / most if most > 0 else 1.0  # nothing carried is all lost

    @property
    def off_by(self) -> int:
        """Replicas from the formula to the nearest split that carries as much as the best, to 2 %."""
        enough = [s for s in self.rates if self.loss(s) <= 0.02]
        return min((abs(s.prefill - self.formula.prefill) for s in enough), default=REPLICAS)


def answer(given: Given) -> Answer:
    count = min(5 if given.quick else WORKLOADS, given.sample or WORKLOADS)
    found = given.each(every_split, points(given, count))
    losses = sorted(f.loss(f.formula) for f in found)
    by_means = sorted(f.loss(f.by_means) for f in found)
    near = sum(f.off_by <= 1 for f in found) / len(found)
    config = f"{len(found)} workloads, {REPLICAS} replicas, {TARGET:.0%} attainment"
    goals = (
        Row("within one instance of the best", 100 * near, "%", config, Goal(">=", 90)),
        Row("mean capacity lost", 100 * sum(losses) / len(losses), "%", config, Goal("<=", 5)),
        Row("capacity lost, P90", 100 * quantile(losses, 0.9), "%", config),
        Row("mean capacity lost by means only", 100 * sum(by_means) / len(by_means), "%", config),
        Row("splits that variance changes", sum(f.formula != f.by_means for f in found), "workloads", config),
    )
    return Answer(
        title="Question 5: the ratio formula against every split",
        question="What does the closed form lose against every split, and what is length variance worth?",
        tables=(_worst(found),),
        goals=goals,
        notes=(
            "Searches stop at 4 % and runs are short, so splits within 2 % are taken as equally good.",
            f"{len(found)} workloads were drawn; the question asks for {WORKLOADS}.",
            "The KV's way is a stage of its own: one transfer at a time into a decode replica, 5 ms each and "
            "its bytes at 25 GB/s. Short answers are bounded by it before they are by anything else.",
        ),
    )


def points(given: Given, count: int) -> list[Point]:
    """Workloads that one replica of each role can serve at all; others are drawn again."""
    rng, drawn = random.Random(f"ratio {given.seeds[0]}"), list[Point]()
    while len(drawn) < count:
        prompt = LengthLaw(_log(rng, 256, 8192), cv=rng.uniform(0, 2))
        output = LengthLaw(_log(rng, 16, 2048), cv=rng.uniform(0, 2))
        tpot = _log(rng, 0.015, 0.06)
        settings = given.settings(ttft="3s", tpot=f"{1000 * tpot:.1f}ms", attainment=str(TARGET))
        point = Point(settings, Task(f"{len(drawn)}", prompt, output), rng.randrange(1_000_000))
        demand = _demand(point, variance=True)
        if math.isfinite(demand.prefill) and math.isfinite(demand.decode):
            drawn.append(point)
    return drawn


def every_split(point: Point) -> Found:
    demand = _demand(point, variance=True)
    formula, by_means = _split(demand), _split(_demand(point, variance=False))
    asked = dict.fromkeys(
        (formula, by_means, *sorted(SPLITS, key=lambda s: abs(s.prefill - formula.prefill)))
    )
    rates: dict[Targets, float] = {}
    for split in asked:
        most = max(rates.values(), default=0.0)
        worth = split in (formula, by_means) or not most or _attained(point, split, 0.95 * most) >= TARGET
        rates[split] = _carried(point, split, max(most, demand.carried_by(formula))) if worth else 0.0
    return Found(point, formula, by_means, rates)


def _demand(point: Point, *, variance: bool) -> Demand:
    """Replicas for one round per second."""

    def squared(law: LengthLaw) -> float:
        return law.mean * law.mean * (1 + law.cv * law.cv * variance)

    p, o = point.task.prompt, point.task.output
    workload = Workload(1.0, p.mean, p.mean, squared(p), o.mean, squared(o))
    return demand_for(workload, models_of(point.settings).profile, point.settings.slo)


def _split(demand: Demand) -> Targets:
    return max(SPLITS, key=lambda split: (demand.carried_by(split), -split.prefill))


def _carried(point: Point, split: Targets, expected: float) -> float:
    """Rounds per second that a split carries; 0 where not a sixteenth of what was expected."""
    found = largest_load(
        lambda rate: _attained(point, split, rate),
        target=TARGET,
        low=expected / 16,
        high=expected * 1.2,
        precision=0.04,
    )
    return 0.0 if found is None else found.load


def _attained(point: Point, split: Targets, rate: float) -> float:
    output = point.task.output
    longest = output.mean * (1 + output.cv * output.cv) * point.settings.tpot  # of what is being answered
    seconds = max(SECONDS, ROUNDS / rate, ANSWERS * longest)
    rng = random.Random(f"{point.task.name} {point.seed}")
    trace = phased([Phase(seconds, rate, point.task)], rng=rng)
    traffic = Traffic.of(sessions_of(trace, seconds_per_token=point.settings.pace))
    settings = replace(point.settings, rate=rate)
    scenario = scenario_of(
        settings, traffic, placement=PlacementName.ALWAYS_REMOTE, scaling=ScalingName.STATIC, begin=split
    )
    result = simulate(scenario, traffic, seed=point.seed)
    return judge(result, settings.slo, start=seconds / 5, stop=seconds).attainment


def _worst(found: list[Found]) -> Table:
    """The ten at which the formula loses most."""
    worst = sorted(found, key=lambda f: -f.loss(f.formula))[:10]
    header = ("prompt (cv)", "answer (cv)", "TPOT ms", "formula", "means only", "best", "lost %")
    return Table("where the formula loses most", header, tuple(_line(f) for f in worst))


def _line(f: Found) -> tuple[str, ...]:
    p, o = f.point.task.prompt, f.point.task.output
    return (
        f"{p.mean:.0f} ({p.cv:.1f})",
        f"{o.mean:.0f} ({o.cv:.1f})",
        f"{1000 * f.point.settings.tpot:.0f}",
        str(f.formula),
        str(f.by_means),
        str(f.best),
        f"{100 * f.loss(f.formula):.1f}",
    )


def _log(rng: random.Random, low: float, high: float) -> float:
    return math.exp(rng.uniform(math.log(low), math.log(high)))

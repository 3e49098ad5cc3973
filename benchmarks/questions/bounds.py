"""Question 1, its bounds: what the work of rounds, and histories that were lost, leave to any placement.

The goals over ``AlwaysRemote`` come from a study of other engines. Two figures say how much of a miss is the
placement's: the largest load at which the work alone could be done in time (``fluid``), and without a KV
pool, how many of the late rounds had lost a history that takes longer to compute than their limit.
"""

import math
from bisect import bisect
from collections.abc import Sequence
from functools import cache
from typing import Final, NamedTuple

from benchmarks.questions.fluid import Job, least_work, most_in_time
from benchmarks.questions.frame import Answer, Given, Table
from benchmarks.questions.searches import STEP, Target
from benchmarks.questions.workloads import CONVERSATION, FLEETS, LOADS, WORKLOADS, settings_of
from pdscale.perf.model import PerformanceModel
from pdscale.scenarios.building import first_fleet, scenario_of
from pdscale.scenarios.engines import models_of, setup_of
from pdscale.scenarios.runs import judged
from pdscale.scenarios.settings import PlacementName, ScalingName, Settings
from pdscale.scenarios.traffic import traffic_of
from pdscale.sim.limits import EngineSetup
from pdscale.sim.records import Result
from pdscale.sim.simulation import simulate
from pdscale.sim.traffic import Traffic

NO_POOL: Final = 0.66  # load at which most rules are around 99 % there
PLACED: Final = (
    PlacementName.COST_BASED,
    PlacementName.ALWAYS_REMOTE,
    PlacementName.THRESHOLD,
    PlacementName.COLOCATED,
)
_SHARES: Final = (Target(0.99), Target(0.9))


class Asked(NamedTuple):
    settings: Settings
    workload: str


class Placed(NamedTuple):
    settings: Settings
    name: PlacementName


class Loss(NamedTuple):
    """Shares of all rounds: late, and among these such as had to compute a lost history for too long."""

    late: float
    lost: float


def answer(given: Given) -> Answer:
    cases = [w for w in WORKLOADS if given.asks(w)]
    found = given.each(bound, [Asked(settings_of(given, w), w) for w in cases])
    fluid = Table(
        "largest load at which the work of so many rounds fits, in rounds/s: no placement carries more",
        ("workload", "replicas", *(str(target) for target in _SHARES)),
        tuple((w, str(sum(FLEETS[w])), *told) for w, told in zip(cases, found, strict=True)),
    )
    tables = (fluid, _losses(given)) if CONVERSATION in cases else (fluid,)
    return Answer(
        title="Question 1: work and evictions, which no placement avoids",
        question="How far can any placement go, whatever it knows?",
        tables=tables,
        notes=(
            "Work is that of full passes and full batches, by the engines' own grid; interrupted and cut at "
            "will, on all replicas at once, with KV that moves at once. Rounds arrive as on an idle fleet.",
            "A bound says what cannot be had. What is below it may still be out of reach: engines do not "
            "interrupt a prompt for another, and nobody knows what comes next.",
        ),
    )


def bound(asked: Asked) -> tuple[str, ...]:
    """Rounds per second for each share, on the lattice of the searches."""
    settings = asked.settings
    setup = setup_of(settings, models_of(settings).engine)
    traffic = traffic_of(settings, settings.seed[0])
    low, high = LOADS[asked.workload]
    top = math.ceil(math.log(2 * high / low) / math.log(STEP))

    @cache
    def at(place: int) -> tuple[float, float]:
        return in_time(settings, setup, traffic.at_load(low * STEP**place))

    told = []
    for target in _SHARES:
        above = bisect(range(top + 1), False, key=lambda place: at(place)[0] < target.share)
        told.append(f"{'at least ' if above > top else ''}{at(above - 1)[1]:.1f}" if above else "none")
    return tuple(told)


def in_time(settings: Settings, setup: EngineSetup, traffic: Traffic) -> tuple[float, float]:
    """The share that could be, and rounds per second, of rounds that arrive while sessions start."""
    start, stop = judged(settings, traffic)
    jobs = [
        _job(settings, setup, traffic, i, at)
        for i, at in enumerate(_arrivals(setup.model, traffic))
        if start <= at < stop
    ]
    replicas = settings.fleet.prefill + settings.fleet.decode
    return most_in_time(jobs, servers=replicas), len(jobs) / (stop - start)


def _job(settings: Settings, setup: EngineSetup, traffic: Traffic, i: int, at: float) -> Job:
    history, output = traffic.history[i], traffic.output[i]
    new = traffic.prompt[i] - history
    limit = max(settings.slo.ttft, settings.ttft_stretch * setup.model.prefill_seconds(new, history))
    work = least_work(setup, new=new, history=history, output=output)
    return Job(work, at, at + limit + output * settings.slo.tpot)


def _arrivals(model: PerformanceModel, traffic: Traffic) -> Sequence[float]:
    """As if nobody ever waited: a round's successor comes after its own time on an idle replica."""
    found = [0.0] * len(traffic)
    for head in traffic.heads:
        at, i = traffic.begins[head], head
        while i >= 0:
            found[i] = at
            new, context = traffic.prompt[i] - traffic.history[i], traffic.prompt[i]
            at += model.prefill_seconds(new, traffic.history[i])
            at += traffic.output[i] * model.step_seconds(1, context)
            i = traffic.following[i]
            at += traffic.begins[i] if i >= 0 else 0.0
    return found


def _losses(given: Given) -> Table:
    settings = settings_of(given, CONVERSATION, kv_pool="0")
    found = given.each(losses, [Placed(settings, name) for name in PLACED])
    rows = []
    for name, each in zip(PLACED, found, strict=True):
        late, lost = (
            " ".join(f"{share * 100:.2f}" for share in column) for column in zip(*each, strict=True)
        )
        rows.append((str(name), late, lost))
    header = ("placement", "late %", "of all rounds: lost a history that takes longer than the limit %")
    return Table(f"conversation without a KV pool at load {NO_POOL:g}, by seed", header, tuple(rows))


def losses(placed: Placed) -> list[Loss]:
    settings, name = placed
    model, found = models_of(settings).engine, []
    for seed in settings.seed:
        traffic = traffic_of(settings, seed).at_load(NO_POOL)
        begin = first_fleet(settings, name)
        plan = scenario_of(settings, traffic, placement=name, scaling=ScalingName.STATIC, begin=begin)
        start, stop = judged(settings, traffic)
        found.append(_loss(simulate(plan, traffic, seed=seed), model, settings.slo.tpot, start, stop))
    return found


def _loss(result: Result, model: PerformanceModel, tpot: float, start: float, stop: float) -> Loss:
    traffic = result.traffic
    rounds = [i for i, at in enumerate(result.arrived) if start <= at < stop]
    late = [i for i in rounds if result.ttft(i) > result.limit[i] or (result.tpot(i) or 0.0) > tpot]
    lost = [
        i
        for i in late
        if result.reused[i] < traffic.history[i]
        and model.prefill_seconds(traffic.prompt[i] - result.reused[i], result.reused[i]) > result.limit[i]
    ]
    return Loss(len(late) / len(rounds), len(lost) / len(rounds))

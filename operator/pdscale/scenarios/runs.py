"""One run after another, or several processes at once: cases in, rows out, in the cases' order.

A case is a handful of names and numbers and is all that travels to another process; traces are read there,
once per process. What a row holds depends on its case alone, so the number of processes changes no figure."""

import contextlib
import math
import multiprocessing
import signal
from array import array
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, TypeVar

from pdscale.model.pools import Bounds, Targets
from pdscale.model.quantiles import quantile
from pdscale.scaling.rivals.sighting import Limits
from pdscale.scenarios.building import first_fleet, scenario_of
from pdscale.scenarios.engines import models_of
from pdscale.scenarios.oracles import best_split, cheapest_static
from pdscale.scenarios.settings import PlacementName, ScalingName, Settings
from pdscale.scenarios.traffic import traffic_of
from pdscale.sim.judge import Verdict, judge
from pdscale.sim.records import Outcome, Result
from pdscale.sim.simulation import Progress, simulate
from pdscale.sim.traffic import Traffic

CURVE_POINTS: Final = 200
T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Case:
    """One run. ``fleet`` replaces what the fleet begins with."""

    placement: PlacementName
    scaling: ScalingName
    load: float
    seed: int
    fleet: Targets | None = None

    @property
    def name(self) -> str:
        return f"{self.placement} + {self.scaling}"


@dataclass(frozen=True, slots=True)
class Curves:
    """For plots. ``fleet`` has (instant, prefill, decode replicas that are not gone) at each change; the
    others are (value, share of rounds at or below it)."""

    fleet: tuple[tuple[float, int, int], ...]
    ttft: tuple[tuple[float, float], ...]
    tpot: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Row:
    case: Case
    begin: Targets
    verdict: Verdict
    moved_bytes: float
    ended_at: float
    curves: Curves


def run_case(settings: Settings, case: Case, progress: Progress | None = None) -> Row:
    traffic = traffic_of(settings, case.seed).at_load(case.load)
    begin = case.fleet or fleet_of(settings, case, traffic)
    scenario = scenario_of(settings, traffic, placement=case.placement, scaling=case.scaling, begin=begin)
    result = simulate(scenario, traffic, seed=case.seed, progress=progress)
    start, stop = judged(settings, traffic)
    verdict = judge(result, settings.slo, start=start, stop=stop)
    return Row(
        case,
        begin,
        verdict,
        moved_bytes=result.moved_tokens * models_of(settings).engine.kv_bytes_per_token,
        ended_at=result.ended_at,
        curves=_curves(result, start, stop),
    )


def judged(settings: Settings, traffic: Traffic) -> tuple[float, float]:
    """When a round must arrive to count: while sessions still start.

    Later there are follow-ups only, fewer and fewer of them, and at a higher load that easy end is the longer
    part. All count where sessions start all at once, and with ``tail``.
    """
    last = traffic.last_start
    if settings.tail or last <= settings.warm_up:
        return settings.warm_up, math.inf
    return settings.warm_up, math.nextafter(last, math.inf)


def fleet_of(settings: Settings, case: Case, traffic: Traffic) -> Targets:
    """What the fleet begins with: as set, or as hindsight finds."""
    limits = _limits(settings, case.placement)

    def attained(fleet: Targets) -> float:
        plan = scenario_of(
            settings, traffic, placement=case.placement, scaling=ScalingName.STATIC, begin=fleet
        )
        start, stop = judged(settings, traffic)
        return judge(simulate(plan, traffic, seed=case.seed), settings.slo, start=start, stop=stop).attainment

    if case.scaling is ScalingName.ORACLE_STATIC:
        return cheapest_static(attained, limits, target=settings.attainment)
    if case.scaling is ScalingName.BEST_SPLIT and case.placement is not PlacementName.COLOCATED:
        return best_split(attained, limits, begin=settings.fleet)
    return first_fleet(settings, case.placement)


def run_all(
    settings: Settings,
    cases: Sequence[Case],
    *,
    jobs: int,
    progress: Callable[[int, float], None] | None = None,
) -> Iterator[Row]:
    """``progress`` hears how many cases are done, and which share of the next one."""

    def tell(done: int, share: float) -> None:
        if progress is not None:
            progress(done, share)

    if jobs == 1 or len(cases) == 1:
        for done, case in enumerate(cases):
            yield run_case(settings, case, lambda share, done=done: tell(done, share))  # type: ignore[misc]
        return
    for done, row in enumerate(mapped(partial(run_case, settings), cases, jobs=jobs)):
        tell(done + 1, 0.0)
        yield row


def mapped(work: Callable[[T], R], tasks: Sequence[T], *, jobs: int) -> Iterator[R]:
    """``work`` on each task, in the tasks' order, ``jobs`` at a time, each in a process if more than one."""
    if jobs == 1 or len(tasks) == 1:
        yield from map(work, tasks)
        return
    with _processes(min(jobs, len(tasks))) as pool:
        yield from pool.map(work, tasks)


@contextlib.contextmanager
def _processes(jobs: int) -> Iterator[ProcessPoolExecutor]:
    """Whatever ends the work early ends the processes too, and what they were at is of no use to anybody."""
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_die_silently)
    try:
        yield pool
    except BaseException:
        for child in multiprocessing.active_children():
            child.terminate()
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()


def _die_silently() -> None:
    """A terminal's Ctrl-C reaches every process; only the first of them has something to say about it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _limits(settings: Settings, placement: PlacementName) -> Limits:
    """Colocated engines have the GPUs of both pools."""
    limits = settings.limits
    if placement is not PlacementName.COLOCATED:
        return limits
    most = limits.budget // settings.gpus_decode
    return replace(limits, prefill=Bounds(0, 0), decode=Bounds(settings.min_decode, most))


def _curves(result: Result, start: float, stop: float) -> Curves:
    ttft, tpot = array("d"), array("d")
    for i, outcome in enumerate(result.outcome):
        if outcome == Outcome.SERVED and start <= result.arrived[i] < stop:
            ttft.append(result.ttft(i))
            found = result.tpot(i)
            if found is not None:
                tpot.append(found)
    rows = result.fleet.rows
    return Curves(
        tuple((r.at, sum(r[1:4]), sum(r[4:7])) for r in rows), _distribution(ttft), _distribution(tpot)
    )


def _distribution(values: Sequence[float]) -> tuple[tuple[float, float], ...]:
    ordered = sorted(v for v in values if math.isfinite(v))
    if not ordered:
        return ()
    shares = [k / CURVE_POINTS for k in range(CURVE_POINTS + 1)]
    return tuple((quantile(ordered, s), s) for s in shares)

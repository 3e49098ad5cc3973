"""What clients will do, from a trace or from published figures, per seed.

Order of changes to a trace: its own clock if it has none, excerpt, spread, lengths, context, thinning. Load
comes last and moves starts of sessions only."""

import math
import random
from functools import lru_cache
from itertools import accumulate, chain
from pathlib import Path

from pdscale.model.units import Seconds
from pdscale.model.workload import Workload
from pdscale.scaling.demand import demand_for
from pdscale.scaling.rivals.clairvoyant import Coming, Foresight
from pdscale.scenarios.engines import models_of
from pdscale.scenarios.fields import InvalidScenario
from pdscale.scenarios.settings import Settings, WorkloadName
from pdscale.sim.traffic import LAST, Traffic
from pdscale.workload.arrivals import LengthLaw, expand
from pdscale.workload.files import read_lines
from pdscale.workload.generators import (
    CHAT,
    CODE,
    CONVERSATION,
    REASONING,
    SUMMARY,
    Phase,
    Task,
    bursty,
    drifting,
    phase_inversion,
    phased,
)
from pdscale.workload.load import load_rates, load_trace
from pdscale.workload.sessions import sessions_of
from pdscale.workload.shaping import excerpt, fit_context, scale_lengths, spread, start_sessions, thin
from pdscale.workload.trace import TimeBase, Trace

_STEADY = {
    WorkloadName.CONVERSATION: CONVERSATION,
    WorkloadName.CODE: CODE,
    WorkloadName.SUMMARY: SUMMARY,
    WorkloadName.CHAT: CHAT,
    WorkloadName.REASONING: REASONING,
}


@lru_cache(maxsize=2)
def traffic_of(settings: Settings, seed: int) -> Traffic:
    """At load 1. Kept, since a comparison asks for the same one again and again."""
    rng = random.Random(f"traffic {seed}")
    try:
        trace = drawn(settings, rng) if settings.trace is None else _read(settings, rng)
        found = Traffic.of(sessions_of(_shaped(trace, settings, rng), seconds_per_token=settings.pace))
    except ValueError as error:
        raise InvalidScenario(str(error)) from error
    if not len(found):
        raise InvalidScenario(
            f"{trace.source}: no request is left to replay; widen excerpt, thin, context or duration"
        )
    return found


def drawn(settings: Settings, rng: random.Random) -> Trace:
    """A workload of published lengths at ``rate``; where two kinds of request take turns, the first has that
    rate and the other keeps as many replicas busy as the first does."""
    name, seconds, rate = settings.workload, settings.duration, settings.rate
    if name in _STEADY:
        return phased([Phase(seconds, rate, _STEADY[name])], rng=rng, source=name)
    if name is WorkloadName.PHASE_INVERSION:
        first, second = (Phase(seconds / 4, r, t) for r, t in _balanced(settings, rate, SUMMARY, REASONING))
        return phase_inversion(first, second, cycles=2, rng=rng)
    if name is WorkloadName.DRIFTING:
        first, second = (Phase(seconds, r, t) for r, t in _balanced(settings, rate, CODE, CONVERSATION))
        return drifting(first, second, steps=8, rng=rng)
    return bursty(seconds=seconds, steady_rate=rate, burst_rate=rate, rng=rng, period=seconds / 2)


def _balanced(settings: Settings, rate: float, first: Task, second: Task) -> list[tuple[float, Task]]:
    profile = models_of(settings).profile
    needs = []
    for task in (first, second):
        demand = demand_for(_one_per_second(task), profile, settings.slo)
        needs.append(demand.prefill + demand.decode)
    if not all(0 < need < math.inf for need in needs):
        raise InvalidScenario(
            f"workload: one replica of {profile.name} alone does not serve {first.name} and "
            f"{second.name} within ttft {settings.ttft:g}s and tpot {settings.tpot:g}s; widen them or choose "
            f"a faster profile"
        )
    return [(rate, first), (rate * needs[0] / needs[1], second)]


def _one_per_second(task: Task) -> Workload:
    def squared(law: LengthLaw) -> float:
        return law.mean * law.mean * (1 + law.cv * law.cv)

    p, o = task.prompt, task.output
    return Workload(1.0, p.mean, p.mean, squared(p), o.mean, squared(o))


def _read(settings: Settings, rng: random.Random) -> Trace:
    assert settings.trace is not None
    if _is_series(settings.trace):
        series = load_rates(settings.trace)
        if settings.excerpt:
            series = series.excerpt(start=settings.excerpt[0], stop=settings.excerpt[1])
        return expand(series, prompt=CONVERSATION.prompt, output=CONVERSATION.output, rng=rng)
    trace = _loaded(settings.trace)
    if trace.time_base is TimeBase.SESSION:
        trace = start_sessions(trace, rate=settings.rate, rng=rng)
    if settings.excerpt:
        trace = excerpt(trace, start=settings.excerpt[0], stop=settings.excerpt[1])
    return trace


@lru_cache(maxsize=2)
def _loaded(path: Path) -> Trace:
    return load_trace(path)


@lru_cache(maxsize=2)
def _is_series(path: Path) -> bool:
    return "requests_per_s" in "".join(read_lines(path)[:1])


def _shaped(trace: Trace, settings: Settings, rng: random.Random) -> Trace:
    if settings.spread:
        trace = spread(trace, step=settings.spread, rng=rng)
    if settings.lengths != 1:
        trace = scale_lengths(trace, settings.lengths)
    if settings.context and len(trace):
        trace = fit_context(trace, most=settings.context, fits=settings.fits)
    return thin(trace, settings.thin, rng=rng) if settings.thin < 1 else trace


def foreseen(traffic: Traffic, *, pace: Seconds) -> Foresight:
    """When each round will come if every answer takes ``pace`` seconds per token."""
    return Foresight(chain.from_iterable(_rounds(traffic, first, pace) for first in traffic.heads))


def _rounds(traffic: Traffic, first: int, pace: Seconds) -> list[Coming]:
    indices = list(_chain(traffic, first))
    ends = [0.0, *(pace * traffic.output[i] for i in indices[:-1])]
    starts = accumulate(traffic.begins[i] + before for i, before in zip(indices, ends, strict=True))
    return [
        Coming(at, traffic.prompt[i], traffic.prompt[i] - traffic.history[i], traffic.output[i])
        for i, at in zip(indices, starts, strict=True)
        if math.isfinite(at)
    ]


def _chain(traffic: Traffic, first: int) -> list[int]:
    found = [first]
    while traffic.following[found[-1]] != LAST:
        found.append(traffic.following[found[-1]])
    return found

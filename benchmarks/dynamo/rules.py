"""Who decides in the simulator, all from the same scrapes and within the same limits.

*Static* fleets are searched: the cheapest that reaches the goal. The *oracle* knows all requests beforehand
and sizes for the next two lead times by our formula; a factor on the rates is searched as well, so that the
formula's own caution does not count for us: the cheapest factor that reaches the goal. Hindsight on both, and
on nothing else here.

Dynamo's planner has intervals of 60 s here instead of 180 s, which is kind to it, and begins with measured
passes, except where a row says cold.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from benchmarks.dynamo.cases import START_UP, Case
from benchmarks.dynamo.scraping import Scraped, Seen
from benchmarks.dynamo.simulator import INTERVAL, Decide, Planner, Samples, Tick
from pdscale.model.pools import Targets
from pdscale.model.slo import SLO
from pdscale.model.units import Seconds
from pdscale.model.workload import NoData, Workload
from pdscale.perf.capacity import decode_capacity
from pdscale.perf.profile import Profile
from pdscale.scaling.autoscaler import Autoscaler, Decision, Observation
from pdscale.scaling.policy import Policy
from pdscale.scaling.rivals.clairvoyant import Clairvoyant, Coming, Foresight
from pdscale.scaling.rivals.hpa import HPA
from pdscale.scaling.rivals.reactive import Reactive
from pdscale.workload.trace import Trace

LEAD: Final[Seconds] = START_UP + INTERVAL
FACTORS: Final = (0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.35, 1.5, 1.75, 2.0, 2.5)
_SLICE: Final[Seconds] = 10.0  # of the oracle's future; half a minute hides the bursts of C
QUICK: Final = ("SLA, kalman", "SLA, kalman, half an hour known", "SLA, kalman, tighter")
_CAREFUL: Final = 0.95  # chosen on the seeds that it was developed on
_UTILISATION: Final = 0.7  # HPA's target, as in `pdscale compare`


class Rule:
    """A rule of `pdscale.scaling.rivals` that is asked at each tick."""

    def __init__(self, profile: Profile, scaler: Any, *, before: Trace | None = None) -> None:
        self._scraped, self._scaler = Scraped(profile, before=before), scaler

    def __call__(self, tick: Tick) -> Targets | None:
        seen = self._scraped.take(tick)
        found: Targets | None = self._scaler.decide(seen, tick["now_ms"] / 1e3)
        return found


@dataclass(slots=True)
class Ours:
    """The operator's `Autoscaler`. ``trail`` are its decisions by time, for who wants to know why."""

    autoscaler: Autoscaler
    policy: Policy
    trail: list[tuple[Seconds, Decision]]

    def decide(self, seen: Seen, now: Seconds) -> Targets | None:
        observation = Observation(seen.prefill, seen.decode, seen.past(self.policy.history))
        decision = self.autoscaler.decide(self.policy, observation, now)
        self.trail.append((now, decision))
        return decision.apply


def planned(case: Case, profile: Profile) -> SLO:
    """What rules that size by our formula promise: the TTFT less what passes of many prompts add to it.

    The formula takes a prompt to be computed by itself, as our gates see to it. Here every prompt goes to its
    engine at once, and that computes as many tokens together as it may: a prompt of 0.66 s ends with its
    whole pass, after 1.69 s. 5 s are planned as 3.97.
    """
    full = profile.prefill_seconds(profile.max_batched_tokens)
    alone = profile.prefill_seconds(case.task.prompt.mean)
    return replace(case.slo, ttft=case.slo.ttft - max(0.0, full - alone))


def ours(case: Case, profile: Profile, *, attainment: float, careful: bool = False) -> Ours:
    """With defaults, or ``careful``: a higher quantile of the forecast and no tolerance.

    Replicas that are fed round robin do not even out what comes beyond the plan, as a shared queue does.
    """
    from pdscale_forecaster import Remembered

    limits = case.limits
    policy = Policy(
        slo=replace(planned(case, profile), attainment=attainment),
        prefill=limits.prefill,
        decode=limits.decode,
        gpus=limits.gpus,
        gpu_budget=limits.budget,
        profile=profile,
        start_up_prefill=START_UP,
        start_up_decode=START_UP,
        interval=INTERVAL,
        step=INTERVAL,
    )
    if careful:
        policy = replace(policy, quantile=_CAREFUL, tolerance=0.0)
    return Ours(Autoscaler(predict=Remembered()), policy, [])


def rivals(case: Case, profile: Profile, trace: Trace) -> Mapping[str, Decide]:
    """Rules that look at the present, by name."""
    limits, slo = case.limits, planned(case, profile)
    whole = Foresight(coming(trace)).between(0.0, trace.at[-1])
    streams = 1.0 if isinstance(whole, NoData) else decode_capacity(whole, profile, slo).streams
    return {
        "reactive, 90 s hold": Rule(profile, Reactive(limits, profile, slo)),
        "HPA": Rule(profile, HPA(limits, max(1.0, _UTILISATION * streams), _UTILISATION)),
    }


class Scaled(Foresight):
    """A future with ``factor`` times its rates."""

    def __init__(self, rounds: Iterable[Coming], factor: float) -> None:
        super().__init__(rounds)
        self._factor = factor

    def between(self, start: Seconds, stop: Seconds) -> Workload | NoData:
        found = super().between(start, stop)
        if isinstance(found, NoData):
            return found
        return replace(found, request_rate=found.request_rate * self._factor)


def oracle(case: Case, profile: Profile, trace: Trace, factor: float) -> Decide:
    future = Scaled(coming(trace), factor)
    scaler = Clairvoyant(case.limits, profile, planned(case, profile), future, 2 * LEAD, slice=_SLICE)
    return Rule(profile, scaler)


def coming(trace: Trace) -> Iterable[Coming]:
    rows = zip(trace.at, trace.prompt, trace.output, strict=True)
    return (Coming(at, prompt, prompt, output) for at, prompt, output in rows)


def planners(case: Case, samples: Samples, past: Trace) -> Mapping[str, Planner]:
    """Dynamo's own, in its modes."""
    base = {
        "mode": "disagg",
        "optimization_target": "sla",
        "environment": "virtual",
        "backend": "mocker",
        "ttft_ms": case.slo.ttft * 1e3,
        "itl_ms": case.slo.tpot * 1e3,
        "throughput_adjustment_interval_seconds": 60,
        "enable_load_scaling": True,
        "max_gpu_budget": case.limits.budget,
        "prefill_engine_num_gpu": 1,
        "decode_engine_num_gpu": 1,
        "load_predictor": "kalman",
        "report_interval_hours": None,
    }
    tighter = {"ttft_ms": case.slo.ttft * 5e2, "itl_ms": case.slo.tpot * 7e2}
    return {
        "SLA, kalman": Planner(base, samples),
        "SLA, arima": Planner(base | {"load_predictor": "arima"}, samples),
        "SLA, constant": Planner(base | {"load_predictor": "constant"}, samples),
        "SLA, kalman, half an hour known": Planner(base, samples, past),
        "SLA, kalman, cold": Planner(base),
        "SLA, kalman, tighter": Planner(base | tighter, samples),
        "SLA, throughput loop only": Planner(base | {"enable_load_scaling": False}, samples),
        "SLA, load loop only": Planner(base | {"enable_throughput_scaling": False}, samples),
        "throughput": Planner(base | {"optimization_target": "throughput"}),
        "latency": Planner(base | {"optimization_target": "latency"}),
    }

"""Dynamo's classic planner formula, as of its 1.0 and of rbg-planner.

Source: Dynamo's planner documentation, restated. Every interval, from means of the last one (its "constant"
predictor):

    P = ceil(rate * ISL * min(1, p) / prefill throughput at ISL),  p = observed TTFT / profiled TTFT
    D = ceil(rate * OSL / best decode throughput at context ISL + OSL/2 with ITL <= limit / d),
        d = observed ITL / profiled ITL

ISL is that of uncached tokens, its discount for prefix hits. No window, no cooldown: it has none. Its
interval is 180 s; 60 s here, which favours it."""

import math
from dataclasses import dataclass

from pdscale.model.pools import Role, Targets
from pdscale.model.slo import SLO
from pdscale.model.units import Seconds, Tokens
from pdscale.model.workload import NoData, Workload
from pdscale.perf.profile import Profile
from pdscale.scaling.rivals.sighting import Limits, Sighting, at_work, mean, recent


@dataclass(slots=True)
class DynamoClassic:
    limits: Limits
    profile: Profile
    slo: SLO
    interval: Seconds = 60.0
    step: Seconds = 15.0

    def decide(self, seen: Sighting, now: Seconds) -> Targets | None:
        workload = recent(seen, self.interval)
        if isinstance(workload, NoData) or workload.uncached_tokens <= 0 or workload.output_tokens <= 0:
            return None
        ttft = mean([e.load.ttft for e in at_work(seen, Role.PREFILL)])
        corrected = self.slo.tpot / self._itl_correction(seen, workload)
        return self.limits.fit(
            Targets(
                prefill_replicas(self.profile, workload, observed_ttft=ttft),
                decode_replicas(self.profile, workload, itl=corrected),
            )
        )

    def _itl_correction(self, seen: Sighting, workload: Workload) -> float:
        found = at_work(seen, Role.DECODE)
        streams = mean([float(e.load.running) for e in found])
        observed = mean([e.load.itl for e in found])
        if observed is None or not streams:
            return 1.0
        profiled = self.profile.step_seconds(streams, streams * context(workload))
        return observed / profiled if profiled > 0 and observed > 0 else 1.0


def context(workload: Workload) -> Tokens:
    return workload.context_tokens + workload.output_tokens / 2


def prefill_replicas(profile: Profile, workload: Workload, *, observed_ttft: Seconds | None) -> int:
    """10 rounds/s of 1000 tokens, 5000 tokens/s, observed twice as slow as profiled: still 2."""
    new = workload.uncached_tokens
    profiled = profile.prefill_seconds(new)
    correction = min(1.0, observed_ttft / profiled) if observed_ttft is not None else 1.0
    return math.ceil(workload.request_rate * new * correction / (new / profiled) - 1e-9)


def decode_replicas(profile: Profile, workload: Workload, *, itl: Seconds) -> int:
    batch = largest_batch(profile, context(workload), itl)
    throughput = batch / profile.step_seconds(batch, batch * context(workload))
    return math.ceil(workload.request_rate * workload.output_tokens / throughput - 1e-9)


def largest_batch(profile: Profile, resident: Tokens, limit: Seconds) -> int:
    """Most streams of ``resident`` tokens each whose step stays within the limit and memory; at least 1."""
    low, high = 1, max(1, min(profile.max_sequences, int(profile.kv_capacity / resident)))
    while low < high:
        middle = (low + high + 1) // 2
        if profile.step_seconds(middle, middle * resident) <= limit:
            low = middle
        else:
            high = middle - 1
    return low

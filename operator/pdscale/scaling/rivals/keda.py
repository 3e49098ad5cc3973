"""llm-d's token rule for KEDA: a threshold per role, turned into replicas by the HPA that KEDA makes.

Source: llm-d's autoscaling blueprints (2026). Prefill: tokens in flight over the peak prefill throughput V,
in seconds per replica, against TTFT limit - ISL / V: what a prompt may wait. Decode: the sum of KV use
against 0.8 per replica. A prompt longer than the limit leaves nothing to wait; a tenth of the limit is then
ours."""

from dataclasses import dataclass, field
from typing import Final

from pdscale.model.pools import Role, Targets
from pdscale.model.slo import SLO
from pdscale.model.units import Seconds, Tokens
from pdscale.model.workload import NoData
from pdscale.perf.profile import Profile
from pdscale.scaling.rivals.hpa import stabilised
from pdscale.scaling.rivals.sighting import Limits, Sighting, at_work, recent
from pdscale.scaling.stabilization import DownscaleWindow

KV_THRESHOLD: Final = 0.8
LENGTHS_WINDOW: Final[Seconds] = 300.0


def peak_prefill(profile: Profile) -> float:
    """Tokens per second of full passes."""
    full = float(profile.max_batched_tokens)
    return full / profile.prefill_seconds(full)


def patience(slo: SLO, prompt: Tokens, throughput: float) -> Seconds:
    return max(slo.ttft - prompt / throughput, 0.1 * slo.ttft)


@dataclass(slots=True)
class KEDA:
    limits: Limits
    profile: Profile
    slo: SLO
    interval: Seconds = 15.0
    step: Seconds = 15.0
    window: DownscaleWindow = field(default_factory=lambda: DownscaleWindow(300.0))

    def decide(self, seen: Sighting, now: Seconds) -> Targets | None:
        lengths = recent(seen, LENGTHS_WINDOW)
        if isinstance(lengths, NoData):
            return None
        throughput = peak_prefill(self.profile)
        prefill, decode = at_work(seen, Role.PREFILL), at_work(seen, Role.DECODE)
        in_flight = sum(e.load.queued_tokens for e in prefill) / max(1, len(prefill))
        kv = sum(e.load.kv_usage for e in decode) / max(1, len(decode))
        usage = {
            Role.PREFILL: in_flight / throughput / patience(self.slo, lengths.uncached_tokens, throughput),
            Role.DECODE: kv / KV_THRESHOLD,
        }
        return stabilised(seen, usage, window=self.window, limits=self.limits, now=now)

"""Fractional replicas of each role for a workload: the forecast divided by what one replica carries."""

import math
from dataclasses import dataclass
from typing import Final

from pdscale.model.pools import Role, Targets
from pdscale.model.slo import SLO
from pdscale.model.units import Seconds
from pdscale.model.workload import Workload
from pdscale.perf.capacity import (
    Capacity,
    decode_capacity,
    prefill_capacity,
    prefill_service,
    resident_tokens,
)
from pdscale.perf.profile import Profile

NOTHING: Final = 1e-9  # of a replica; less is a rounding error and needs nobody


@dataclass(frozen=True, slots=True)
class Demand:
    """Replicas needed, as fractions; infinite where no number of replicas meets the SLO."""

    prefill: float
    decode: float
    prefill_capacity: Capacity
    decode_capacity: Capacity

    def of(self, role: Role) -> float:
        return self.prefill if role is Role.PREFILL else self.decode

    def carried_by(self, targets: Targets) -> float:
        """Times the demand that a pair carries: of the scarcer stage; ``inf`` where nothing is demanded."""
        asked = [role for role in Role if self.of(role) > NOTHING]
        return min((targets.of(role) / self.of(role) for role in asked), default=math.inf)

    def capacity(self, role: Role) -> Capacity:
        return self.prefill_capacity if role is Role.PREFILL else self.decode_capacity


@dataclass(frozen=True, slots=True)
class Streams:
    """Requests at work on decode replicas, ``count`` of them spread over ``replicas``."""

    count: float
    replicas: int


def demand_for(
    workload: Workload,
    profile: Profile,
    slo: SLO,
    *,
    streams: Streams | None = None,
    arriving: Workload | None = None,
    backlog: float = 0.0,
    clear_in: Seconds = math.inf,
) -> Demand:
    """Prefill replicas see the remote share of rounds only; decode replicas see every round.

    10 rounds/s, a third prefilled locally, 4.3/s a prefill and 2.8/s a decode replica:
    10 * 2/3 / 4.3 = 1.55 prefill, 10 / 2.8 = 3.57 decode.

    ``streams`` say better than lengths what decode has to do: lengths are known of rounds that have ended,
    and while a replica is slow those are the short ones. Prefill is sized for ``arriving`` if that is known
    to differ, and for a ``backlog`` of rounds that shall be gone in ``clear_in`` seconds: 100 rounds of 0.2 s
    in 75 s keep 0.27 replicas busy on top.
    """
    coming = arriving or workload
    prefill = prefill_capacity(coming, profile, slo)
    decode = decode_capacity(workload, profile, slo)
    remote_rate = coming.request_rate * (1 - coming.local_share)
    waiting = backlog * prefill_service(coming, profile)[0] / clear_in
    return Demand(
        prefill=_replicas(remote_rate, prefill.rate) + waiting,
        decode=_replicas(workload.request_rate, decode.rate)
        if streams is None
        else _drawn(streams, workload, profile, decode),
        prefill_capacity=prefill,
        decode_capacity=decode,
    )


def _drawn(streams: Streams, workload: Workload, profile: Profile, capacity: Capacity) -> float:
    """Replicas for the tokens that streams draw. Fewer replicas mean larger batches and slower steps,
    hence more streams for the same tokens.

    20 streams on each of 2 replicas at 8 ms a step draw 5000 tokens/s; one replica with 160 streams at 20 ms
    gives 8000: 0.63 replicas, where 40 / 160 says 0.25. Crowded ones are counted by heads, as they draw less
    than they want.
    """
    heads = streams.count / capacity.streams
    each = streams.count / max(1, streams.replicas)
    if each >= capacity.streams or workload.output_tokens <= 0:
        return heads
    resident = resident_tokens(workload)
    now = profile.step_seconds(each, each * resident)
    full = profile.step_seconds(capacity.streams, capacity.streams * resident)
    return heads * full / now if now > 0 else heads


def _replicas(rate: float, per_replica: float) -> float:
    if rate <= 0:
        return 0.0
    return rate / per_replica if per_replica > 0 else math.inf

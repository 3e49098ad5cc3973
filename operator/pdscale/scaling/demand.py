"""Fractional replicas of each role for a workload: the forecast divided by what one replica carries."""

import math
from dataclasses import dataclass

from pdscale.model.pools import Role
from pdscale.model.slo import SLO
from pdscale.model.workload import Workload
from pdscale.perf.capacity import Capacity, decode_capacity, prefill_capacity
from pdscale.perf.profile import Profile


@dataclass(frozen=True, slots=True)
class Demand:
    """Replicas needed, as fractions; infinite where no number of replicas meets the SLO."""

    prefill: float
    decode: float
    prefill_capacity: Capacity
    decode_capacity: Capacity

    def of(self, role: Role) -> float:
        return self.prefill if role is Role.PREFILL else self.decode

    def capacity(self, role: Role) -> Capacity:
        return self.prefill_capacity if role is Role.PREFILL else self.decode_capacity


def demand_for(workload: Workload, profile: Profile, slo: SLO, *, streams: float | None = None) -> Demand:
    """Prefill replicas see the remote share of rounds only; decode replicas see every round.

    10 rounds/s, a third prefilled locally, 4.3/s a prefill and 2.8/s a decode replica:
    10 * 2/3 / 4.3 = 1.55 prefill, 10 / 2.8 = 3.57 decode.

    ``streams`` are the requests now on decode replicas: never plan for fewer than they need. Lengths are
    known of rounds that have ended, and while a replica is slow those are the short ones.
    """
    prefill = prefill_capacity(workload, profile, slo)
    decode = decode_capacity(workload, profile, slo)
    remote_rate = workload.request_rate * (1 - workload.local_share)
    return Demand(
        prefill=_replicas(remote_rate, prefill.rate),
        decode=max(_replicas(workload.request_rate, decode.rate), (streams or 0.0) / decode.streams),
        prefill_capacity=prefill,
        decode_capacity=decode,
    )


def _replicas(rate: float, per_replica: float) -> float:
    if rate <= 0:
        return 0.0
    return rate / per_replica if per_replica > 0 else math.inf

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
    network_capacity,
    pool_limit,
    prefill_pool,
    resident_tokens,
)
from pdscale.perf.decode_pool import DecodePool
from pdscale.perf.profile import Profile
from pdscale.perf.queueing import Pool

NOTHING: Final = 1e-9  # of a replica; less is a rounding error and needs nobody


@dataclass(frozen=True, slots=True)
class Demand:
    """Replicas needed, as fractions; infinite where no number of replicas meets the SLO.

    Capacities are a replica's. ``pool`` says how many rounds fewer or more prefill replicas carry together,
    ``decoding`` the same of decode replicas; without them, in proportion.
    """

    prefill: float
    decode: float
    prefill_capacity: Capacity
    decode_capacity: Capacity
    pool: Pool | None = None
    decoding: DecodePool | None = None

    def of(self, role: Role) -> float:
        return self.prefill if role is Role.PREFILL else self.decode

    def carried_by(self, targets: Targets) -> float:
        """Times the demand that a pair carries: of the scarcer stage; ``inf`` where nothing is demanded."""
        asked = [role for role in Role if self.of(role) > NOTHING]
        return min((self.carried(role, targets.of(role)) for role in asked), default=math.inf)

    def carried(self, role: Role, replicas: int) -> float:
        """Times one stage's demand that so many replicas carry. 0 where no number of them carries any."""
        need = self.of(role)
        if math.isinf(need):
            return 0.0
        if role is Role.PREFILL and self.pool is not None and self.pool.service > 0:
            whole = self.pool.rate(need)
            return self.pool.rate(replicas) / whole if whole > 0 else 0.0
        if role is Role.DECODE and self.decoding is not None and math.isfinite(self.decoding.rate(need)):
            return self.decoding.rate(replicas) / self.decoding.rate(need)
        return replicas / need

    def capacity(self, role: Role) -> Capacity:
        return self.prefill_capacity if role is Role.PREFILL else self.decode_capacity


@dataclass(frozen=True, slots=True)
class Streams:
    """Requests at work on decode replicas. What ``count`` of them draw is to grow ``growth`` times, or there
    are to be ``ahead`` of them if that is more."""

    count: float
    growth: float = 1.0
    ahead: float = 0.0


def demand_for(
    workload: Workload,
    profile: Profile,
    slo: SLO,
    *,
    streams: Streams | None = None,
    spread_over: int = 1,
    arriving: Workload | None = None,
    backlog: float = 0.0,
    clear_in: Seconds = math.inf,
    burstiness: float = 1.0,
) -> Demand:
    """Prefill replicas see the remote share of rounds only; decode replicas see every round, and have to take
    in the KV of the remote ones.

    10 rounds/s, a third prefilled locally, one prefill replica carries 4.3/s, one decode replica 2.8/s: 6.7/s
    need 1.5 prefill replicas, which share one queue (6.7 / 4.3 = 1.55 if each had its own), and 3.3 decode,
    which share a crowd (10 / 2.8 = 3.57 likewise).

    ``streams``, ``spread_over`` so many replicas, say better than lengths what decode has to do: lengths are
    known of rounds that have ended, and while a replica is slow those are the short ones. Prefill is sized
    for ``arriving`` if that is known to differ, for gaps between arrivals of squared variation
    ``burstiness``, and for a ``backlog`` of rounds that shall be gone in ``clear_in`` seconds: 100 rounds of
    0.2 s in 75 s keep 0.27 replicas busy on top.
    """
    coming = arriving or workload
    pool = prefill_pool(coming, profile, slo, burstiness=burstiness)
    remote_rate = coming.request_rate * (1 - coming.local_share)
    remote = pool.replicas(remote_rate)
    decode, link = DecodePool(workload, profile, slo), network_capacity(coming, profile, slo)
    decoding = (
        decode.replicas(workload.request_rate) if streams is None else _drawn(streams, spread_over, decode)
    )
    receiving = _replicas(remote_rate, link.rate)
    return Demand(
        prefill=remote + _clearing(backlog, pool, clear_in),
        decode=max(decoding, receiving),
        prefill_capacity=_each(pool, remote),
        decode_capacity=link if receiving > decoding else decode.each(decoding),
        pool=pool,
        decoding=decode if decoding >= receiving else None,
    )


def _clearing(backlog: float, pool: Pool, within: Seconds) -> float:
    """Replicas kept busy by rounds that wait already; ``inf`` where an idle one is too slow for them."""
    busy = backlog * pool.service / within
    return math.inf if busy > 0 and pool.rate(1.0) <= 0 else busy


def _each(pool: Pool, replicas: float) -> Capacity:
    """One replica's part of what so many carry together."""
    servers = max(1.0, replicas) if math.isfinite(replicas) else 1.0
    return Capacity(pool.rate(servers) / servers, pool_limit(pool, servers))


def _drawn(streams: Streams, replicas: int, pool: DecodePool) -> float:
    """Replicas for the tokens that streams draw, grown, or for those of the streams ahead.

    It is the tokens that grow with the rate: 11 streams at 34 ms draw 320/s, and 2.24 times that are 1.2
    replicas, where 25 streams that shared the same replica, slowly, would be 0.8.
    """
    grown = _hosting(streams.count, replicas, pool, growth=streams.growth)
    return max(grown, _hosting(streams.ahead, replicas, pool))


def _hosting(count: float, replicas: int, pool: DecodePool, *, growth: float = 1.0) -> float:
    """Fewer replicas mean larger batches and slower steps, hence more streams for the same tokens.

    20 streams on each of 2 replicas at 8 ms a step draw 5000 tokens/s; one replica with 160 streams at 20 ms
    gives 8000: 0.63 replicas, where 40 / 160 says 0.25. Crowded ones are counted by heads, as they draw less
    than they want.
    """
    heads = pool.hosting(count * growth)
    most = pool.each(heads).streams
    each = count / max(1, replicas)
    if each >= most or pool.workload.output_tokens <= 0:
        return heads
    resident = resident_tokens(pool.workload)
    now = pool.profile.step_seconds(each, each * resident)
    full = pool.profile.step_seconds(most, most * resident)
    return heads * full / now if now > 0 else heads


def _replicas(rate: float, per_replica: float) -> float:
    if rate <= 0:
        return 0.0
    return rate / per_replica if per_replica > 0 else math.inf

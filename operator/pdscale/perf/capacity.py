"""How many rounds per second one replica of each role carries within the SLO.

Sources: the two stages and their limits are DOPD's (prefill work against decode concurrency, the latter
limited by KV memory and by step time); the equations are ours, since the paper's were not available.

Prefill is a queue (`pdscale.perf.queueing`). Work S = a + b*n + c*n*(h + n/2) on n uncached tokens after h
cached ones; with second moments E[S] is exact and Var(S) taken from its linear part.

The network is a stage between the two (`network_capacity`): KV comes in one transfer at a time.

Decode keeps B streams of r resident tokens each: r = E[OSL (ISL + OSL/2)] / E[OSL], the length-biased mean.
B is limited by KV memory and by step(B, B r) <= TPOT. Streams come and go, so the mean must stay z standard
deviations below that limit: sqrt(B) for heads (Poisson), r sqrt(B (1 + C^2)) for tokens (compound Poisson): a
few long contexts fill a memory that has room for many of the mean. Local prefill takes the share
lambda * f * E[S] of the time away.

Of c replicas that get each new stream where there are fewest, none has a crowd of its own: all c B of them
scatter by sqrt(c B), each replica by a c-th of that, and by a stream by which it is off: variance B / c + 1
instead of B. Only a round that may go anywhere evens out, so rounds with a history count as bound to where it
is; and lengths stay where they are.
"""

import math
from dataclasses import dataclass
from enum import StrEnum
from statistics import NormalDist
from typing import Final

from pdscale.model.slo import SLO
from pdscale.model.units import Seconds
from pdscale.model.workload import Workload
from pdscale.perf.model import PerformanceModel
from pdscale.perf.queueing import Pool, largest

KV_HEADROOM: Final = 0.92  # vLLM preempts when blocks run out; keep some for the streams to grow


class Limit(StrEnum):
    """What keeps a replica from carrying more."""

    TTFT = "TTFT"
    TPOT = "TPOT"
    KV_MEMORY = "KVMemory"
    NETWORK = "Network"
    SEQUENCES = "Sequences"
    LOAD = "Load"


@dataclass(frozen=True, slots=True)
class Capacity:
    """Rounds per second of one replica, and what limits it. Zero: not even an idle one meets the SLO.

    ``streams`` is the mean number of requests that a decode replica then has at a time (DOPD's ccd).
    """

    rate: float
    limit: Limit
    streams: float = math.inf


def prefill_service(workload: Workload, profile: PerformanceModel) -> tuple[Seconds, float]:
    """Mean prefill time of a round and its squared coefficient of variation."""
    new = workload.uncached_tokens
    if new <= 0:
        return 0.0, 0.0
    history = max(0.0, workload.context_tokens - new)
    variance = max(0.0, workload.uncached_tokens_squared - new * new)
    at_mean = profile.prefill_seconds(new, history)
    one_more = profile.prefill_seconds(new + 1, history) - at_mean
    pair = (profile.prefill_seconds(new, history + 1) - at_mean) / new
    mean = at_mean + pair * variance / 2  # E[n^2] = new^2 + variance enters through c * n * n/2
    return mean, (one_more * one_more * variance) / (mean * mean) if mean > 0 else 0.0


def prefill_pool(workload: Workload, profile: PerformanceModel, slo: SLO, *, burstiness: float = 1.0) -> Pool:
    """Replicas that together prefill such rounds: the router sends each to whoever is done with its queue
    first.

    One Llama-2-70B on A100s, 1155 +- 1100 tokens: E[S] = 0.20 s, C^2 = 0.5; 2 s at 95 % -> rho 0.85, 4.3/s.
    """
    service, variation = prefill_service(workload, profile)
    limit = slo.ttft - profile.transfer_seconds(workload.context_tokens)
    return Pool(service, variation, limit, 1 - slo.attainment, burstiness)


def pool_limit(pool: Pool, replicas: float) -> Limit:
    """Whether so many are bounded by waiting times or by being busy all the time."""
    return Limit.LOAD if pool.saturated(replicas) else Limit.TTFT


def network_capacity(workload: Workload, profile: PerformanceModel, slo: SLO) -> Capacity:
    """Rounds per second whose KV one decode replica can take in: a queue of its own, since a session's KV
    has one place to go to.

    876 tokens of an 8B at 25 GB/s: 5 + 4.6 ms each, 99/s at 95 %, what four prefill replicas compute.
    """
    mean = profile.transfer_seconds(workload.uncached_tokens)
    service, _ = prefill_service(workload, profile)
    if mean <= 0:
        return Capacity(math.inf, Limit.NETWORK)
    variance = max(0.0, workload.uncached_tokens_squared - workload.uncached_tokens**2)
    one_more = profile.transfer_seconds(workload.uncached_tokens + 1) - mean
    variation = one_more * one_more * variance / (mean * mean)
    link = Pool(mean, variation, slo.ttft - service, 1 - slo.attainment)
    return Capacity(link.rate(1.0), Limit.NETWORK)


def resident_tokens(workload: Workload) -> float:
    """Mean context of a stream at work: E[OSL (ISL + OSL/2)] / E[OSL], lengths independent."""
    out = workload.output_tokens
    return workload.context_tokens + (workload.output_tokens_squared / (2 * out) if out > 0 else 0.0)


def _context_variation(workload: Workload) -> float:
    """C^2 of what a stream holds, as far as prompts tell: histories are known by their mean only."""
    variance = max(0.0, workload.uncached_tokens_squared - workload.uncached_tokens**2)
    resident = resident_tokens(workload)
    return variance / (resident * resident) if resident > 0 else 0.0


def _free_share(workload: Workload) -> float:
    """Of the rounds that may be answered anywhere, told by the tokens that no history holds already."""
    context = workload.context_tokens
    return min(1.0, workload.uncached_tokens / context) if context > 0 else 1.0


def decode_capacity(
    workload: Workload, profile: PerformanceModel, slo: SLO, *, replicas: int = 1
) -> Capacity:
    """Rounds per second of one decode replica of so many, its share of local prefills included.

    33 streams alone may be 33 + 1.64 * sqrt(33) = 42 at times; 37 on each of 4, 37 + 1.64 * sqrt(37 / 4 + 1).
    """
    out = workload.output_tokens
    if out <= 0:
        return Capacity(math.inf, Limit.LOAD)
    resident = resident_tokens(workload)
    z = NormalDist().inv_cdf(max(0.5, slo.attainment))
    local = workload.local_share * prefill_service(workload, profile)[0]
    evened, variation = (1 - 1 / replicas) * _free_share(workload), _context_variation(workload)

    def carried(streams: float) -> float:
        step = profile.step_seconds(streams, streams * resident)
        return streams / (out * step + streams * local)

    def scatter(streams: float) -> float:
        return streams * (1 - evened) + evened * min(1.0, streams)

    def crowd(streams: float) -> float:
        return streams + z * math.sqrt(scatter(streams))

    def tokens(streams: float) -> float:
        return resident * (streams + z * math.sqrt(scatter(streams) + streams * variation))

    def in_time(streams: float) -> bool:
        busy = carried(streams) * local
        step = profile.step_seconds(crowd(streams), tokens(streams))
        return busy < 1 and step / (1 - busy) <= slo.tpot

    memory = profile.kv_capacity * KV_HEADROOM
    heads = float(profile.max_sequences)
    by_memory = largest(lambda b: tokens(b) <= memory, heads)
    room = min(by_memory, largest(lambda b: crowd(b) <= heads, heads))
    if room < 1e-3:
        return Capacity(0.0, Limit.KV_MEMORY)
    if in_time(room):
        limit = Limit.KV_MEMORY if room == by_memory else Limit.SEQUENCES
        return Capacity(carried(room), limit, room)
    streams = largest(in_time, room)
    return Capacity(carried(streams) if streams >= 1e-3 else 0.0, Limit.TPOT, max(streams, 1e-3))

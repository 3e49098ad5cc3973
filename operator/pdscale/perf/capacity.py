"""How many rounds per second one replica of each role carries within the SLO.

Sources: the two stages and their limits are DOPD's (prefill work against decode concurrency, the latter
limited by KV memory and by step time); the equations are ours, since the paper's were not available.

Prefill is an M/G/1 queue. Work S = a + b*n + c*n*(h + n/2) on n uncached tokens after h cached ones; with
second moments E[S] is exact and Var(S) taken from its linear part. A round waits longer than t with

    P(W > t) ~ rho * exp(-2 t (1 - rho) / (E[S] (1 + C^2)))        (heavy-traffic exponential tail)

and rho is the largest load at which that stays within the share of rounds that may be late.

Decode keeps B streams of r resident tokens each: r = E[OSL (ISL + OSL/2)] / E[OSL], the length-biased mean.
B is limited by KV memory and by step(B, B r) <= TPOT. Streams come and go, so the mean must stay z standard
deviations (Poisson) below that limit. Local prefill takes the share lambda * f * E[S] of the time away.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from statistics import NormalDist
from typing import Final

from pdscale.model.slo import SLO
from pdscale.model.units import Seconds
from pdscale.model.workload import Workload
from pdscale.perf.model import PerformanceModel

MOST_LOAD: Final = 0.95  # above it the tail formula is an extrapolation
KV_HEADROOM: Final = 0.92  # vLLM preempts when blocks run out; keep some for the streams to grow


class Limit(StrEnum):
    """What keeps a replica from carrying more."""

    TTFT = "TTFT"
    TPOT = "TPOT"
    KV_MEMORY = "KVMemory"
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


def prefill_capacity(workload: Workload, profile: PerformanceModel, slo: SLO) -> Capacity:
    """Remote prefills per second of one prefill replica.

    Llama-2-70B on A100s, 1155 +- 1100 tokens: E[S] = 0.20 s, C^2 = 0.5; 2 s at 95 % -> rho 0.85, 4.3/s.
    """
    service, variation = prefill_service(workload, profile)
    if service <= 0:
        return Capacity(math.inf, Limit.LOAD)
    patience = slo.ttft - service - profile.transfer_seconds(workload.context_tokens)
    if patience <= 0:
        return Capacity(0.0, Limit.TTFT)
    late = 1 - slo.attainment
    decay = 2 * patience / (service * (1 + variation))

    def tail(load: float) -> float:
        return load * math.exp(-decay * (1 - load))

    if tail(MOST_LOAD) <= late:
        return Capacity(MOST_LOAD / service, Limit.LOAD)
    return Capacity(_largest(lambda load: tail(load) <= late, MOST_LOAD) / service, Limit.TTFT)


def resident_tokens(workload: Workload) -> float:
    """Mean context of a stream at work: E[OSL (ISL + OSL/2)] / E[OSL], lengths independent."""
    out = workload.output_tokens
    return workload.context_tokens + (workload.output_tokens_squared / (2 * out) if out > 0 else 0.0)


def decode_capacity(workload: Workload, profile: PerformanceModel, slo: SLO) -> Capacity:
    """Rounds per second of one decode replica, its share of local prefills included."""
    out = workload.output_tokens
    if out <= 0:
        return Capacity(math.inf, Limit.LOAD)
    resident = resident_tokens(workload)
    z = NormalDist().inv_cdf(max(0.5, slo.attainment))
    local = workload.local_share * prefill_service(workload, profile)[0]

    def carried(streams: float) -> float:
        step = profile.step_seconds(streams, streams * resident)
        return streams / (out * step + streams * local)

    def crowd(streams: float) -> float:
        return streams + z * math.sqrt(streams)

    def in_time(streams: float) -> bool:
        busy = carried(streams) * local
        step = profile.step_seconds(crowd(streams), crowd(streams) * resident)
        return busy < 1 and step / (1 - busy) <= slo.tpot

    memory = profile.kv_capacity * KV_HEADROOM / resident if resident > 0 else math.inf
    most = min(memory, float(profile.max_sequences))
    room = _largest(lambda b: crowd(b) <= most, most)
    if room < 1e-3:
        return Capacity(0.0, Limit.KV_MEMORY)
    if in_time(room):
        limit = Limit.KV_MEMORY if memory <= profile.max_sequences else Limit.SEQUENCES
        return Capacity(carried(room), limit, room)
    streams = _largest(in_time, room)
    return Capacity(carried(streams) if streams >= 1e-3 else 0.0, Limit.TPOT, max(streams, 1e-3))


def _largest(holds: Callable[[float], bool], most: float) -> float:
    """Largest x in 0..most at which a condition holds that, once broken, stays broken."""
    low, high = 0.0, most
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low

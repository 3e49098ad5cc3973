"""How many answers lose their pace to the prefills that run beside them on a decode replica.

An answer of L tokens takes L steps of its own, D seconds, and all that is prefilled in the meantime, which
takes time in which more comes to be prefilled: a delay busy period that begins with D. Prefills come at rate
l and take S each, so that it lasts T with (Conway, Maxwell and Miller, Theory of Scheduling, 1967, chapter 8)

    E[T] = D / (1 - l E[S])        Var[T] = D l E[S^2] / (1 - l E[S])^3

Of a Brownian motion with the same drift and variance the first passage has these very moments and is inverse
Gaussian (its use here is ours), so the share of answers with T > L * TPOT limit is known in closed form.
Lengths are taken as log-normal, by six of their quantiles. Means alone know nothing of short answers, whose
time a few prefills use up: an answer of 28 tokens bears seven of 0.13 s beside it, one of 8 bears two.

Simulated with the router's default rule, the largest rate at which a tenth is late on 8 replicas, 0 to 7 of
them for prefill, over what `split` says with this formula: code on a 70B 1.30, 1.15, 1.09, 1.03, 0.99, 0.97,
0.96, 1.00; conversations 1.18, 1.20, 1.05, 1.00, 0.99, 1.00, 1.01, 0.94; summaries on an 8B 0.91, 1.02, 0.93,
0.88, 0.88, 0.84, 0.79, 0.67. By means alone 0 to 5 prefill replicas were to carry 1.15 to 1.24 times the code
that they do.
"""

import math
from statistics import NormalDist
from typing import Final

from pdscale.model.units import Seconds
from pdscale.model.workload import Workload
from pdscale.perf.capacity import prefill_service, resident_tokens
from pdscale.perf.model import PerformanceModel
from pdscale.perf.queueing import largest

_QUANTILES: Final = tuple(NormalDist().inv_cdf((k + 0.5) / 6) for k in range(6))


def late_share(
    rate: float, local: float, workload: Workload, profile: PerformanceModel, limit: Seconds
) -> float:
    """Of the answers of one decode replica that answers ``rate`` rounds per second and prefills ``local`` of
    them, those whose mean time per token exceeds ``limit``."""
    service, variation = prefill_service(workload, profile)
    busy = local * service
    if busy >= 1:
        return 1.0
    step = _step(rate / (1 - busy), workload, profile)
    if step > limit:
        return 1.0
    scatter = local * service * service * (1 + variation)
    if scatter <= 0:
        return 0.0
    late = 0.0
    for tokens in _lengths(workload):
        alone = tokens * step
        late += _beyond(tokens * limit, alone / (1 - busy), alone * alone / scatter)
    return late / len(_QUANTILES)


def _step(rate: float, workload: Workload, profile: PerformanceModel) -> Seconds:
    """Of as many streams as are there at a time: those whose steps bring them in as fast as they end."""
    resident, out = resident_tokens(workload), workload.output_tokens

    def too_few(streams: float) -> bool:
        return streams < rate * out * profile.step_seconds(streams, streams * resident)

    most = float(profile.max_sequences)
    if too_few(most):
        return math.inf
    streams = largest(too_few, most)
    return profile.step_seconds(streams, streams * resident)


def _lengths(workload: Workload) -> list[float]:
    """Equally likely lengths of answers."""
    mean = workload.output_tokens
    deviation = math.sqrt(math.log(max(1.0, workload.output_tokens_squared / (mean * mean))))
    middle = math.log(mean) - deviation * deviation / 2
    return [math.exp(middle + deviation * q) for q in _QUANTILES]


def _beyond(t: float, mean: float, shape: float) -> float:
    """P(T > t) of an inverse Gaussian."""
    root = math.sqrt(shape / t)
    below = _log_phi(root * (t / mean - 1))
    mirrored = 2 * shape / mean + _log_phi(-root * (t / mean + 1))
    return max(0.0, 1 - math.exp(below) - math.exp(min(0.0, mirrored)))


def _log_phi(x: float) -> float:
    """Logarithm of the standard normal distribution; far out, of its tail's leading term."""
    if x > -30:
        return math.log(math.erfc(-x / math.sqrt(2)) / 2)
    return -x * x / 2 - math.log(-x * math.sqrt(2 * math.pi))

"""What a split of a fleet into prefill and decode replicas carries at most, where either may prefill.

On a slow network prefill replicas stand idle while their KV is on its way, and replicas that do both, with
sessions that stay where their history is, carry more. Three stages share the work of a round (ours): its
prefill S, a share y of it remote; its KV's way T, one transfer at a time at each end; its decoding, of which
the planner's capacity says how much one replica does beside local prefills.

    lambda(y) = min( P / (y S),  min(P, D) / (y T),  D * decode_capacity(local share 1 - y) )
    carried   = max over y of lambda(y), as long as no more answers are late than may be (`beside`)

Prefill and network are means: what full stages carry, not what queues leave of that. Both sides of the
comparison wait, and the tail of waits behind local prefills is not known well enough to compare by (with a
queue of its own for each decode replica a split never won on short increments, with one queue for all it
always did). Histories are left out of T: a rule that is worth its name moves rounds that have little.

It is the router that finds the share, round by round, if its rule goes by what a prefill costs on either side
(`CostBased`); another rule's share is what it is.

8B on H200, 8 replicas, 25 ms a token, conversations of 7.5 k new tokens (S 0.25 s, T 0.33 s at 3 GB/s): 5P+3D
11.3 rounds/s, limited by the network, one pool 11.8; at 25 GB/s 18.5 rounds/s and 11.8.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from pdscale.model.pools import Targets
from pdscale.model.slo import SLO
from pdscale.model.workload import Workload
from pdscale.perf.beside import late_share
from pdscale.perf.capacity import Limit, decode_capacity, prefill_service
from pdscale.perf.model import PerformanceModel
from pdscale.perf.queueing import largest

_SHARES: Final = tuple(k / 20 for k in range(21))


@dataclass(frozen=True, slots=True)
class Carried:
    """Rounds per second at most, the share of prefill work that is remote then, and what limits it."""

    rate: float
    remote: float
    limit: Limit


def carried(split: Targets, workload: Workload, profile: PerformanceModel, slo: SLO) -> Carried:
    """At the share of remote prefills that suits the split best."""
    stages = (_stages(share, split, workload, profile, slo) for share in _SHARES)
    best = Carried(0.0, 0.0, Limit.LOAD)
    for most in sorted(stages, key=lambda c: c.rate, reverse=True):
        if most.rate <= best.rate:
            break
        found = _in_time(most, split, workload, profile, slo)
        best = max(best, found, key=lambda c: c.rate)
    return best


def worth_most(splits: Sequence[Targets], workload: Workload, profile: PerformanceModel, slo: SLO) -> Targets:
    """The split that carries most; of equals the first."""
    return max(splits, key=lambda split: carried(split, workload, profile, slo).rate)


def _stages(
    remote: float, split: Targets, workload: Workload, profile: PerformanceModel, slo: SLO
) -> Carried:
    """What the scarcest of the stages carries, with so much of the prefill work remote."""
    decode = decode_capacity(replace(workload, local_share=1 - remote), profile, slo)
    stages = [(split.decode * decode.rate, decode.limit)]
    service, _ = prefill_service(workload, profile)
    moved = profile.transfer_seconds(workload.uncached_tokens)
    if remote * service > 0:
        stages.append((split.prefill / (remote * service), Limit.LOAD))
    if remote * moved > 0:
        stages.append((min(split.prefill, split.decode) / (remote * moved), Limit.NETWORK))
    rate, limit = min(stages, key=lambda stage: stage[0])
    return Carried(rate, remote, limit)


def _in_time(
    most: Carried, split: Targets, workload: Workload, profile: PerformanceModel, slo: SLO
) -> Carried:
    """As much of it as leaves answers their pace beside local prefills."""
    if most.remote >= 1 or split.decode < 1 or not 0 < most.rate < math.inf:
        return most

    def bears(rate: float) -> bool:
        each = rate / split.decode
        return late_share(each, each * (1 - most.remote), workload, profile, slo.tpot) <= 1 - slo.attainment

    if bears(most.rate):
        return most
    return Carried(largest(bears, most.rate), most.remote, Limit.TPOT)

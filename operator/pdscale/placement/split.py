"""Whether a fleet is worth splitting: what a split carries at most, beside one pool of all its replicas.

On a slow network prefill replicas stand idle while their KV is on its way, and replicas that do both, with
sessions that stay where their history is, carry more. Three stages share the work of a round (ours): its
prefill S, a share y of it remote; its KV's way T, one transfer at a time at each end; its decoding, of which
the planner's capacity says how much one replica does beside local prefills.

    lambda(y) = min( P / (y S),  min(P, D) / (y T),  D * decode_capacity(local share 1 - y) )
    carried   = max over y of lambda(y)

All are means: what full stages carry, not what queues leave of that. Both sides of the comparison wait, and
the tail of waits behind local prefills is not known well enough to compare by (with a queue of its own for
each decode replica a split never won on short increments, with one queue for all it always did). Histories
are left out of T: a rule that is worth its name moves rounds that have little.

8B on H200, 8 replicas, 25 ms a token, conversations of 7.5 k new tokens (S 0.25 s, T 0.33 s at 3 GB/s): 5P+3D
12.0 rounds/s, limited by the network, one pool 15.1; at 25 GB/s 18 rounds/s and 15.1.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from pdscale.model.pools import Targets
from pdscale.model.slo import SLO
from pdscale.model.workload import Workload
from pdscale.perf.capacity import Limit, decode_capacity, prefill_service
from pdscale.perf.profile import Profile

_SHARES: Final = tuple(k / 20 for k in range(21))


@dataclass(frozen=True, slots=True)
class Carried:
    """Rounds per second at most, the share of prefill work that is remote then, and what limits it."""

    rate: float
    remote: float
    limit: Limit


def carried(split: Targets, workload: Workload, profile: Profile, slo: SLO) -> Carried:
    """At the share of remote prefills that suits the split best."""
    return max((_at(share, split, workload, profile, slo) for share in _SHARES), key=lambda c: c.rate)


def worth_most(splits: Sequence[Targets], workload: Workload, profile: Profile, slo: SLO) -> Targets:
    """The split that carries most; of equals the first."""
    return max(splits, key=lambda split: carried(split, workload, profile, slo).rate)


def _at(remote: float, split: Targets, workload: Workload, profile: Profile, slo: SLO) -> Carried:
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

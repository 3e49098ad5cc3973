"""Which role the replicas of a fixed total have, where decode replicas prefill as well.

The router sends a prefill where there is time for it, so the observed share of local prefills is what the
present split has made of it: with four prefill replicas most rounds go there and four are needed, with one,
one is. Of all splits of the total the question is which carries the largest multiple of the load with the
share that suits it (`perf.split`).

A change of role costs a drain, so a split stays while it carries the load with the tolerance to spare, and
goes only for one that carries more by the tolerance (ours). Decode replicas are never fewer than the streams
that are there need: lengths are known of rounds that have ended.
"""

import math
from typing import Final

from pdscale.model.pools import Role, Targets
from pdscale.model.workload import Workload
from pdscale.perf.split import carried
from pdscale.scaling.demand import NOTHING, Demand
from pdscale.scaling.policy import Policy

_MOST_TRIED: Final = 24  # splits; each takes some milliseconds


def best_split(
    workload: Workload, demand: Demand, policy: Policy, *, total: int, current: Targets
) -> Targets | None:
    """Of ``total`` GPUs; nothing where no split is within bounds."""
    splits = _splits(demand, policy, total)
    if not splits:
        return None

    def rate(split: Targets) -> float:
        return carried(split, workload, policy.profile, policy.slo).rate

    enough = 1 + policy.tolerance
    now = rate(current) if current in splits else 0.0
    if now >= enough * workload.request_rate and now > 0:
        return current
    tried = splits[:: math.ceil(len(splits) / _MOST_TRIED)]
    most, best = max(((rate(split), split) for split in tried), key=lambda found: found[0])
    return best if most > enough * now else current


def _splits(demand: Demand, policy: Policy, total: int) -> list[Targets]:
    """For each number of prefill replicas as many decode replicas as the rest holds, if it leaves no room."""
    found = []
    for p in range(policy.prefill.least, policy.prefill.most + 1):
        rest = total - p * policy.gpus.prefill
        d = min(policy.decode.most, rest // policy.gpus.decode)
        another = p < policy.prefill.most and rest - d * policy.gpus.decode >= policy.gpus.prefill
        if d >= policy.decode.least and not another:
            found.append(Targets(p, d))
    most = max((split.decode for split in found), default=0)
    needed = demand.of(Role.DECODE)
    least = most if math.isinf(needed) else min(most, math.ceil(needed - NOTHING))
    return [split for split in found if split.decode >= least]

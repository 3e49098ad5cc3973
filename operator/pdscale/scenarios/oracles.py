"""Static fleets that only hindsight finds: each tries the very run that it is then judged on.

`cheapest_static` walks the border between fleets that attain the target and fleets that do not: from the
fewest prefill and the most decode replicas, one step at a time, which takes as many runs as both bounds are
wide. It relies on more replicas never attaining less, which holds but for noise. `best_split` tries every
split of the GPUs that the fleet begins with."""

from collections.abc import Callable, Iterator

from pdscale.model.pools import Targets
from pdscale.scaling.rivals.sighting import Limits

Attained = Callable[[Targets], float]


def cheapest_static(attained: Attained, limits: Limits, *, target: float) -> Targets:
    """Fewest GPUs within bounds and budget that attain the target; if none does, what attains most of those
    tried."""
    tried: dict[Targets, float] = {}
    p, d = limits.prefill.least, limits.decode.most
    while p <= limits.prefill.most and d >= limits.decode.least:
        fleet = Targets(p, d)
        if limits.gpus.held_by(fleet) > limits.budget:
            d -= 1
            continue
        tried[fleet] = attained(fleet)
        if tried[fleet] >= target:
            d -= 1
        else:
            p += 1
    return _best(tried, limits, target)


def best_split(attained: Attained, limits: Limits, *, begin: Targets) -> Targets:
    tried = {fleet: attained(fleet) for fleet in _splits(limits, begin)}
    return max(tried, key=lambda f: (tried[f], -f.prefill)) if tried else begin


def _splits(limits: Limits, begin: Targets) -> Iterator[Targets]:
    """Within the GPUs that the fleet begins with, not within bounds: 7P+1D is a split of 4P+4D."""
    total = limits.gpus.held_by(begin)
    for p in range(1, total // limits.gpus.prefill + 1):
        d = (total - p * limits.gpus.prefill) // limits.gpus.decode
        if d >= 1:
            yield Targets(p, d)


def _best(tried: dict[Targets, float], limits: Limits, target: float) -> Targets:
    if not tried:
        return Targets(limits.prefill.least, limits.decode.least)
    enough = [f for f, share in tried.items() if share >= target]
    if enough:
        return min(enough, key=lambda f: (limits.gpus.held_by(f), -tried[f], f.prefill))
    return max(tried, key=lambda f: (tried[f], -limits.gpus.held_by(f), -f.prefill))

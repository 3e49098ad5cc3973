"""AMPD's adaptive routing: local or remote prefill for one round.

The rule after "Efficient Multi-round LLM Inference over Disaggregated Serving", reconstructed from
public reviews (structure and constants are theirs; equation 1 and the direction of the comparisons
are ours):

    scan the prefill replicas in random order:  TTFT_10s(p) <= alpha * TTFT limit  -> remote on p
    ITL_10s(d) <= beta * ITL limit                                                -> local
    else the least of
        t_local    = queue(d) + T_pre(hist, incr)
        t_remote_p = queue(p) + T_kv(hist) + T_pre(hist, incr) + T_kv(incr)

An empty window counts as slack: a replica that has finished nothing in ten seconds is idle or new,
and taking work is the only way to a figure. One that is stuck shows up as failed legs, not here.
The known weakness stays, on purpose, since this is the published rule: the two gates look at
neither queue nor transfer, so long histories travel whenever a prefill replica is quiet.
"""

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from pdscale.model.cluster import ClusterView, Endpoint, Load
from pdscale.model.slo import SLO
from pdscale.model.units import Seconds
from pdscale.perf.profile import Profile
from pdscale.placement.policy import Placement, PlacementReason, Round, local, remote
from pdscale.placement.prefills import Prefills, least_row


@dataclass(frozen=True, slots=True)
class AMPD:
    """Remote while prefill has slack, local while decode has, else the cheaper one."""

    profile: Profile
    slo: SLO
    alpha: float = 0.9
    beta: float = 0.85
    _prefills: Prefills = field(
        default_factory=lambda: Prefills(_figures, width=2), init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        for name in ("alpha", "beta"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{name} must be above 0 and at most 1, got {getattr(self, name)}")

    def place(
        self,
        request: Round,
        view: ClusterView,
        decode: Endpoint,
        *,
        now: Seconds,
        rng: random.Random,
    ) -> Placement:
        prefills = self._prefills.of(view, without=decode.name)
        if not prefills.endpoints:
            return local(decode, PlacementReason.NO_PREFILL_REPLICA)
        means, queues = prefills.columns
        limit = self.alpha * self.slo.ttft
        if min(means) <= limit:  # else nobody has to be drawn to find that none has slack
            for prefill in _at_random(prefills.endpoints, rng):
                if has_slack(prefill.load.ttft, limit):
                    return remote(prefill, PlacementReason.PREFILL_SLACK)
        if has_slack(decode.load.itl, self.beta * self.slo.tpot):
            return local(decode, PlacementReason.DECODE_SLACK)
        # Replicas are alike, so the shortest queue is the cheapest one.
        best = prefills.endpoints[least_row(queues, rng)]
        if self.remote_seconds(request, best) < self.local_seconds(request, decode):
            return remote(best, PlacementReason.CHEAPER_REMOTE)
        return local(decode, PlacementReason.CHEAPER_LOCAL)

    def local_seconds(self, request: Round, decode: Endpoint) -> Seconds:
        return self._queue(decode) + self.profile.prefill_seconds(request.increment, request.history)

    def remote_seconds(self, request: Round, prefill: Endpoint) -> Seconds:
        new, history = request.remote_work
        return (
            self._queue(prefill)
            + self.profile.transfer_seconds(history)
            + self.profile.prefill_seconds(new, history)
            + self.profile.transfer_seconds(new)
        )

    def _queue(self, endpoint: Endpoint) -> Seconds:
        """Time to work off what waits there; its histories are unknown here and left out."""
        return self.profile.prefill_seconds(endpoint.load.queued_tokens)


def _figures(load: Load) -> tuple[float, float]:
    """The mean, below every limit where no round has ended lately; the queue."""
    return (-math.inf if load.ttft is None else load.ttft), load.queued_tokens


def has_slack(mean: Seconds | None, limit: Seconds) -> bool:
    """A replica of which no round has ended lately has."""
    return mean is None or mean <= limit


def _at_random(found: Sequence[Endpoint], rng: random.Random) -> Iterator[Endpoint]:
    """A random order, drawn only as far as it is looked at: mostly the first one has slack."""
    left = list(found)
    while left:
        at = int(rng.random() * len(left))
        left[at], left[-1] = left[-1], left[at]
        yield left.pop()

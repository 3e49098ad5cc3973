"""The prefill replica with the fewest tokens queued: join the shortest queue, as the simple rules do.

To what a replica has told comes what this decider has sent there since. A peer's router keeps such a count,
too (vllm-router's and Dynamo's, of the requests that they have open), and a yardstick that forgot its own
choices until the next load report would send all rounds of that time to one replica: whoever is compared with
it would be praised for its herding. Ties by chance.
"""

import random

from pdscale.model.cluster import ClusterView, Endpoint, Load
from pdscale.model.units import Seconds
from pdscale.placement.pledged import Pledged
from pdscale.placement.policy import Placement, PlacementReason, Round, local, remote
from pdscale.placement.prefills import Prefills, least_row


class ShortestQueue:
    """One per decider, since it counts what that has sent."""

    __slots__ = ("_pledged", "_prefills")

    def __init__(self) -> None:
        self._pledged = Pledged()
        self._prefills = Prefills(_figures, width=2)

    def send(
        self,
        request: Round,
        view: ClusterView,
        decode: Endpoint,
        reason: PlacementReason,
        *,
        now: Seconds,
        rng: random.Random,
    ) -> Placement:
        """Remote if there is anywhere to go."""
        prefills = self._prefills.of(view, without=decode.name)
        if not prefills.endpoints:
            return local(decode, PlacementReason.NO_PREFILL_REPLICA)
        queues, seen = prefills.columns
        sent = self._pledged.after(prefills.rows, seen) if self._pledged else {}
        if sent:
            queues = queues.copy()
            for row, tokens in sent.items():
                queues[row] += tokens
        found = prefills.endpoints[least_row(queues, rng)]
        self._pledged.note(found.name, request.remote_work[0], now=now)
        return remote(found, reason)


def _figures(load: Load) -> tuple[float, float]:
    """Tokens that wait there, and when it said so."""
    return load.queued_tokens, load.seen_at

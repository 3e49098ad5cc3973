"""Rounds on engines whose decode replicas cannot prefill: each is placed remotely, or refused."""

import random
from dataclasses import dataclass

from pdscale.model.cluster import Endpoint
from pdscale.placement.exchange_at_once import ExchangeAtOnce
from pdscale.placement.lengths import Estimate
from pdscale.placement.policy import Busy, Kind, PlacementPolicy, PlacementReason, Round
from pdscale.placement.remote_only import place_remotely
from pdscale.router.flows.delivery import Verdict
from pdscale.router.flows.together import TogetherTrip
from pdscale.router.flows.tools import Tools
from pdscale.router.hop.inbound import Inbound
from pdscale.router.hop.outlet import Outlet
from pdscale.router.meters import Meters


@dataclass(frozen=True, slots=True)
class RemoteRounds:
    tools: Tools
    policy: PlacementPolicy
    meters: Meters
    rng: random.Random

    async def serve(
        self, inbound: Inbound, outlet: Outlet, *, decode: Endpoint, estimate: Estimate
    ) -> Verdict:
        if inbound.body is None or not self.tools.dialect.splittable(inbound.path, inbound.body):
            return _unsplittable(outlet)
        now = self.tools.clock()
        asked = Round(
            session=inbound.session,
            history=estimate.history,
            increment=estimate.increment,
            history_moves=self.tools.dialect.history_moves,
            waited=max(0.0, now - inbound.arrived),
            prefiller=self.tools.prefiller(inbound.prefiller),
        )
        view = self.tools.roster.view(now)
        placed = place_remotely(self.policy, asked, view, decode, now=now, rng=self.rng)
        if isinstance(placed, Busy):
            return _busy(outlet, placed)
        trip = TogetherTrip(
            tools=self.tools,
            inbound=inbound,
            outlet=outlet,
            exchange=ExchangeAtOnce(
                decode=decode.name,
                prefill=placed.placement.endpoint.name,
                alternatives=placed.alternatives,
            ),
            new_tokens=asked.remote_work[0],
            context=estimate.history + estimate.increment,
            rng=self.rng,
        )
        try:
            return await trip.run()
        finally:
            self.meters.placed(Kind.REMOTE, trip.exchange.retried or placed.placement.reason)


def _unsplittable(outlet: Outlet) -> Verdict:
    """The request is at fault: no replica of these engines can serve it."""
    outlet.error(
        400,
        "n and best_of must be 1, and echo must not come with logprobs: on this deployment's engines one "
        "replica computes the prompt, and another one the one answer to it",
        kind=PlacementReason.NOT_SPLITTABLE,
    )
    return Verdict(400)


def _busy(outlet: Outlet, busy: Busy) -> Verdict:
    """Not this replica's matter, so not marked as refused by it: others would know of no more."""
    message = f"no replica can take the request now: {busy.reason}"
    outlet.error(busy.status, message, kind=busy.reason, own=b"Retry-After: 1\r\n")
    return Verdict(busy.status)

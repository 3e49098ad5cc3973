"""Where a round goes: bound to a decode replica by the front router, placed by the sidecar beside that.

Both are the live deciders. They see what they see live: the front router the view that all share, the sidecar
its own replica's load as of now and the others' as of then.
"""

import random
from typing import Final

from pdscale.model.cluster import Endpoint
from pdscale.model.pools import Role
from pdscale.placement.binding import Bindings
from pdscale.placement.exchange import Exchange
from pdscale.placement.policy import Busy, Kind, Round
from pdscale.sim.agenda import Agenda
from pdscale.sim.fleet import Fleet
from pdscale.sim.records import Result
from pdscale.sim.sight import Sight, decode_load
from pdscale.sim.traffic import Traffic
from pdscale.sim.transfers import Transfers
from pdscale.sim.way import Way

# To look a member up in its class costs as much as a call.
_DECODE: Final = Role.DECODE
_REMOTE: Final = Kind.REMOTE


class Placing:
    """One front router's bindings, and the policies of the fleet's decode replicas."""

    def __init__(
        self,
        bindings: Bindings,
        fleet: Fleet,
        sight: Sight,
        *,
        traffic: Traffic,
        agenda: Agenda,
        result: Result,
        transfers: Transfers,
        rng: random.Random,
    ) -> None:
        self._bindings, self._fleet, self._sight = bindings, fleet, sight
        self._traffic, self._agenda, self._result = traffic, agenda, result
        self._transfers, self._rng = transfers, rng

    def settle(self, request: Way) -> Busy | None:
        """Give it a decode replica, what that has of its history, a placement and an exchange; or why not."""
        now, index, traffic = self._agenda.now, request.index, self._traffic
        name = traffic.names[request.session]
        bound = self._bindings.bind(name, self._sight.view(now), now=now)
        if isinstance(bound, Busy):
            return bound
        decode = bound.name
        self._bindings.began(decode)
        replica = request.decode = self._fleet.decode[decode]
        replica.rounds[request] = None
        self._result.decode[index] = replica.number
        engine = replica.engine
        engine.advance(now)
        load = decode_load(engine, now)  # before the history: what the round brings is not the replica's load
        self._transfers.find_history(
            request, engine, wanted=traffic.history[index], common=traffic.common[index]
        )
        own = Endpoint(decode, "", _DECODE, True, False, load)
        history, moves = request.history, self._transfers.history_moves
        asked = Round(name, history, request.prompt - history, moves, now - request.arrived)
        view = self._sight.asked(asked.increment, now)
        placement = replica.policy.place(asked, view, own, now=now, rng=self._rng)
        request.placement, request.placed_at = placement, now
        self._result.placed(request, placement.kind, placement.reason)
        prefill = placement.endpoint.name if placement.kind is _REMOTE else None
        request.exchange = Exchange(decode=decode, prefill=prefill)
        return None

    def over(self, request: Way) -> None:
        """It was settled and has left its decode replica, however it ended."""
        decode = request.decode
        assert decode is not None
        self._bindings.ended(decode.name)
        if self._traffic.is_alone(request.index):  # live, a client that names no session is forgotten at once
            self._bindings.forget(self._traffic.names[request.session])

    def again(self, name: str) -> None:
        """A round's decode replica has failed before it answered; it is to be settled anew."""
        self._bindings.ended(name)

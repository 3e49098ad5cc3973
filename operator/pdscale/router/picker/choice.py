"""Which decode replica a gateway's request goes to: the front's binding, among those that the gateway allows.

One rule is the picker's alone, since its protocol has an answer for it that makes gateways look elsewhere: a
session without a replica is shed (429) while every replica that may be had is full and has a queue.
What goes on is not: its history lies there, and to compute it anew would take more of what is short.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pdscale.model.cluster import Endpoint
from pdscale.model.pools import Role
from pdscale.model.units import Seconds
from pdscale.placement.binding import KV_FULL, Bindings
from pdscale.placement.candidates import taking_work
from pdscale.placement.policy import Busy, BusyReason
from pdscale.router.fleet.roster import Roster

_SHED: Final = Busy(BusyReason.OVERLOADED, 429)


@dataclass(frozen=True, slots=True)
class Picked:
    """A decode replica's name, and its sidecar's address as gateways write it."""

    endpoint: str
    address: str


@dataclass(frozen=True, slots=True)
class Choice:
    roster: Roster
    bindings: Bindings
    clock: Callable[[], Seconds]

    def __call__(self, session: str, among: frozenset[str] | None = None) -> Picked | Busy:
        """``among`` are addresses; absent: all. Counted at once, so that requests of one instant spread."""
        now = self.clock()
        view, without = self.roster.view(now), self._others(among)
        found = taking_work(view, Role.DECODE, without=without)
        names = {endpoint.name for endpoint in found}
        if found and all(map(_overloaded, found)) and self.bindings.replica_of(session) not in names:
            return _SHED
        chosen = self.bindings.bind(session, view, now=now, without=without)
        if isinstance(chosen, Busy):
            return chosen
        peer = self.roster.peer(chosen.name)
        if peer is None:
            return Busy(BusyReason.NO_DECODE_REPLICA)
        self.bindings.began(chosen.name)
        return Picked(chosen.name, peer.host_port)

    def name_of(self, address: str) -> str | None:
        """The decode replica at an address."""
        return next((p.endpoint.name for p in self.roster.peers(Role.DECODE) if p.host_port == address), None)

    def _others(self, among: frozenset[str] | None) -> frozenset[str]:
        if among is None:
            return frozenset()
        return frozenset(p.endpoint.name for p in self.roster.peers(Role.DECODE) if p.host_port not in among)


def _overloaded(endpoint: Endpoint) -> bool:
    return endpoint.load.kv_usage >= KV_FULL and endpoint.load.waiting > 0

"""Who is there and how busy they are: what discovery, load reports and failed calls add up to.

A peer that could not be reached is passed over for two seconds, unless all of its role are in that
state: then all are tried again, because a doubt about everybody says more about the doubter. The first
good word from it clears it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Final

from pdscale.model.cluster import ClusterView, Endpoint, Load
from pdscale.model.pools import Role
from pdscale.model.units import Seconds
from pdscale.router.fleet.peers import Peer

SUSPICION: Final[Seconds] = 2.0


@dataclass(slots=True)
class Roster:
    """Peers by uid, the freshest load by name. ``synced_at`` is when the API last spoke; never: ``None``."""

    synced_at: Seconds | None = None
    _peers: dict[str, Peer] = field(default_factory=dict)
    _by_name: dict[str, Peer] = field(default_factory=dict)
    _loads: dict[str, Load] = field(default_factory=dict)
    _suspects: dict[str, Seconds] = field(default_factory=dict)
    _view: ClusterView | None = None
    _newer: dict[str, Load] = field(default_factory=dict)  # than what the view says

    def replace_all(self, peers: Iterable[Peer], *, now: Seconds) -> None:
        self._peers = {p.uid: p for p in peers}
        self.synced_at = now
        self._changed()

    def put(self, peer: Peer, *, now: Seconds) -> None:
        """Add or renew; an older pod of the same name is gone by definition."""
        name = peer.endpoint.name
        self._peers = {u: p for u, p in self._peers.items() if p.endpoint.name != name}
        self._peers[peer.uid] = peer
        self.synced_at = now
        self._changed()

    def remove(self, uid: str, *, now: Seconds) -> None:
        self._peers.pop(uid, None)
        self.synced_at = now
        self._changed()

    def alive(self, now: Seconds) -> None:
        """The API said something, though not about a peer."""
        self.synced_at = now

    def heard(self, name: str, load: Load) -> None:
        """Keep the freshest figures of an endpoint, which is there, since it speaks."""
        if self._suspects and self._suspects.pop(name, None) is not None:
            self._view = None
        known = self._loads.get(name)
        if name in self._by_name and (known is None or known.seen_at <= load.seen_at):
            self._loads[name] = self._newer[name] = load

    def heard_at(self, name: str) -> Seconds | None:
        """When its figures were told."""
        load = self._loads.get(name)
        return None if load is None else load.seen_at

    def suspect(self, name: str, *, now: Seconds) -> None:
        self._suspects[name] = now + SUSPICION
        self._view = None

    def peer(self, name: str) -> Peer | None:
        return self._by_name.get(name)

    def role_of(self, name: str) -> Role | None:
        peer = self._by_name.get(name)
        return None if peer is None else peer.endpoint.role

    def peers(self, role: Role) -> tuple[Peer, ...]:
        return tuple(p for p in self._by_name.values() if p.endpoint.role is role)

    def not_heard_of(self, role: Role, *, since: Seconds) -> tuple[Peer, ...]:
        return tuple(
            p
            for p in self._by_name.values()
            if p.endpoint.role is role
            and (
                (load := self._loads.get(p.endpoint.name)) is None
                or load.seen_at < since
                or p.endpoint.name in self._suspects
            )
        )

    def view(self, now: Seconds) -> ClusterView:
        if self._suspects:
            self._suspects = {n: until for n, until in self._suspects.items() if until > now}
            self._view = None
        if self._view is None:
            self._view = ClusterView(tuple(self._endpoints()))
        elif self._newer:
            self._view = self._view.renewed(self._newer)
        else:
            return self._view
        self._newer = {}
        return self._view

    def _endpoints(self) -> Iterable[Endpoint]:
        trusted = {
            p.endpoint.role
            for p in self._peers.values()
            if p.endpoint.takes_new_work and p.endpoint.name not in self._suspects
        }
        for peer in self._peers.values():
            endpoint = peer.endpoint
            doubted = endpoint.name in self._suspects and endpoint.role in trusted
            yield replace(
                endpoint,
                ready=endpoint.ready and not doubted,
                load=self._loads.get(endpoint.name, endpoint.load),
            )

    def _changed(self) -> None:
        self._by_name = {p.endpoint.name: p for p in self._peers.values()}
        self._loads = {n: load for n, load in self._loads.items() if n in self._by_name}
        self._view = None

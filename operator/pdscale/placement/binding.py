"""Which decode replica owns a session.

A session stays where its KV is for as long as that replica takes work; a draining or vanished one
loses its sessions to others at their next round, where the history is computed again. The first
choice among replicas with KV to spare is the one with the fewest requests at work, then the least KV
in use, then the fewest sessions, then by a rendezvous hash, so that front routers that see the same
figures choose alike and none is everybody's favourite.

What other front routers have bound is learned from the decode replicas' own logs (``session_log``);
of two that disagree, the later round is right, since its KV is the longer one.

AMPD binds by memory alone. That goes wrong as soon as pools are elastic: KV in use counts what
ended rounds left pinned, so a new replica looks empty for minutes and gets every session, until its
decode steps are far too slow. Requests at work are what makes a step slow. Those that this router
has open are known at once; what the engine reports is up to a second old and counts other routers'.
"""

import zlib
from collections import Counter, OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

from pdscale.model.cluster import ClusterView, Endpoint
from pdscale.model.pools import Role
from pdscale.model.units import Seconds
from pdscale.placement.candidates import taking_work
from pdscale.placement.policy import Busy, BusyReason

_KV_STEP: Final = 0.05
_KV_FULL: Final = 0.9  # above it an engine soon preempts or keeps requests waiting for blocks


@dataclass(frozen=True, slots=True)
class Bound:
    """A session's replica and when it was last asked for."""

    endpoint: str
    at: Seconds


@dataclass(slots=True)
class Bindings:
    """Session -> decode endpoint, bounded by number (least recently used go) and by idle time."""

    capacity: int = 100_000
    idle: Seconds = 3600.0
    _bound: OrderedDict[str, Bound] = field(default_factory=OrderedDict)
    _count: Counter[str] = field(default_factory=Counter)
    _open: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        if self.capacity < 1:
            raise ValueError(f"capacity must be at least 1, got {self.capacity}")

    def bind(
        self, session: str, view: ClusterView, *, now: Seconds, without: Collection[str] = ()
    ) -> Endpoint | Busy:
        """The session's replica, or a new one when it has none that takes work."""
        self._expire(now)
        found = taking_work(view, Role.DECODE, without=without)
        bound = self._bound.get(session)
        if bound is not None:
            endpoint = next((e for e in found if e.name == bound.endpoint), None)
            self.forget(session)
            if endpoint is not None:
                return self._remember(session, endpoint, now)
        if not found:
            return Busy(BusyReason.NO_DECODE_REPLICA)
        return self._remember(session, min(found, key=lambda e: self._rank(e, session)), now)

    def learn(self, endpoint: str, ago: Mapping[str, Seconds], *, now: Seconds) -> None:
        """``endpoint`` served these sessions that long ago, says its own log (the latest first)."""
        for session, since in reversed(list(ago.items())):
            at = now - since
            known = self._bound.get(session)
            if now - at > self.idle or (known is not None and known.at >= at):
                continue
            self.forget(session)
            self._put(session, Bound(endpoint, at))

    def began(self, endpoint: str) -> None:
        """A request was sent there."""
        self._open[endpoint] += 1

    def ended(self, endpoint: str) -> None:
        """It is over, however it ended."""
        self._open[endpoint] -= 1
        if self._open[endpoint] <= 0:
            del self._open[endpoint]

    def forget(self, session: str) -> None:
        bound = self._bound.pop(session, None)
        if bound is not None:
            self._count[bound.endpoint] -= 1
            if self._count[bound.endpoint] <= 0:
                del self._count[bound.endpoint]

    def sessions_on(self, endpoint: str) -> int:
        return self._count[endpoint]

    def __len__(self) -> int:
        return len(self._bound)

    def _rank(self, endpoint: Endpoint, session: str) -> tuple[bool, int, int, int, int, str]:
        load = endpoint.load
        return (
            load.kv_usage >= _KV_FULL,
            max(self._open[endpoint.name], load.running + load.waiting),
            int(load.kv_usage / _KV_STEP),
            self._count[endpoint.name],
            zlib.crc32(f"{endpoint.name} {session}".encode("utf-8", "surrogatepass")),
            endpoint.name,
        )

    def _remember(self, session: str, endpoint: Endpoint, now: Seconds) -> Endpoint:
        self._put(session, Bound(endpoint.name, now))
        return endpoint

    def _put(self, session: str, bound: Bound) -> None:
        self._bound[session] = bound
        self._count[bound.endpoint] += 1
        if len(self._bound) > self.capacity:
            self.forget(next(iter(self._bound)))

    def _expire(self, now: Seconds) -> None:
        """The table is in order of use, so the idle ones are at its head."""
        while self._bound:
            session, bound = next(iter(self._bound.items()))
            if now - bound.at <= self.idle:
                return
            self.forget(session)

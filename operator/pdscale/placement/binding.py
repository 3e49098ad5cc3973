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
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, NamedTuple

from pdscale.model.cluster import ClusterView, Endpoint
from pdscale.model.pools import Role
from pdscale.model.units import Seconds
from pdscale.placement.candidates import still_serving, taking_work
from pdscale.placement.policy import Busy, BusyReason

_DECODE: Final = Role.DECODE  # to look a member up in its class costs as much as a call
_KV_STEP: Final = 0.05
KV_FULL: Final = 0.9  # above it an engine soon preempts or keeps requests waiting for blocks


class Bound(NamedTuple):
    """A session's replica and when it was last asked for."""

    endpoint: str
    at: Seconds


@dataclass(slots=True)
class Bindings:
    """Session -> decode endpoint, bounded by number (least recently used go) and by idle time."""

    capacity: int = 100_000
    idle: Seconds = 3600.0
    _bound: OrderedDict[str, Bound] = field(default_factory=OrderedDict)
    _count: dict[str, int] = field(default_factory=dict)
    _open: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.capacity < 1:
            raise ValueError(f"capacity must be at least 1, got {self.capacity}")

    def bind(
        self, session: str, view: ClusterView, *, now: Seconds, without: Collection[str] = ()
    ) -> Endpoint | Busy:
        """The session's replica, or a new one when it has none that takes work.

        Where nobody does, one that drains: a replica that has just become ready is heard of in a moment.
        """
        self._expire(now)
        bound = self._bound.get(session)
        if bound is not None:
            endpoint = view.named(bound.endpoint)
            self.forget(session)
            if endpoint is not None and _would_take(endpoint, without):
                self._put(session, Bound(endpoint.name, now))
                return endpoint
        found = taking_work(view, _DECODE, without=without) or still_serving(view, _DECODE, without=without)
        if not found:
            return Busy(BusyReason.NO_DECODE_REPLICA)
        endpoint = self._quietest(found, session)
        self._put(session, Bound(endpoint.name, now))
        return endpoint

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
        self._open[endpoint] = self._open.get(endpoint, 0) + 1

    def ended(self, endpoint: str) -> None:
        """It is over, however it ended."""
        _one_less(self._open, endpoint)

    def forget(self, session: str) -> None:
        bound = self._bound.pop(session, None)
        if bound is not None:
            _one_less(self._count, bound.endpoint)

    def replica_of(self, session: str) -> str | None:
        """Where it was at its last round, whether or not that replica takes work."""
        bound = self._bound.get(session)
        return None if bound is None else bound.endpoint

    def sessions_on(self, endpoint: str) -> int:
        return self._count.get(endpoint, 0)

    def __len__(self) -> int:
        return len(self._bound)

    def _quietest(self, found: Sequence[Endpoint], session: str) -> Endpoint:
        """By one criterion after the other, each among those that are still equal: mostly one look at each of
        them decides, where ranking all of them by all criteria takes five times as long among 200."""
        if len(found) > 1:
            found = [e for e in found if not e.load.kv_usage >= KV_FULL] or found
            found = _least(found, self._at_work(found))
        if len(found) > 1:
            found = _least(found, [int(e.load.kv_usage / _KV_STEP) for e in found])
            found = _least(found, [self._count.get(e.name, 0) for e in found])
        if len(found) > 1:
            name = session.encode("utf-8", "surrogatepass")
            found = _least(found, [zlib.crc32(name, _crc_of(e.name)) for e in found])
        return found[0]  # the first by name, as the view is in that order

    def _at_work(self, found: Sequence[Endpoint]) -> list[int]:
        """What this router has open there, or what the replica last told, whichever is more."""
        opened, figures = self._open, []
        for endpoint in found:
            load, here = endpoint.load, opened.get(endpoint.name, 0)
            reported = load.running + load.waiting
            figures.append(here if here > reported else reported)
        return figures

    def _put(self, session: str, bound: Bound) -> None:
        self._bound[session] = bound
        self._count[bound.endpoint] = self._count.get(bound.endpoint, 0) + 1
        if len(self._bound) > self.capacity:
            self.forget(next(iter(self._bound)))

    def _expire(self, now: Seconds) -> None:
        """The table is in order of use, so the idle ones are at its head."""
        while self._bound:
            session = next(iter(self._bound))
            if now - self._bound[session].at <= self.idle:
                return
            self.forget(session)


def _would_take(endpoint: Endpoint, without: Collection[str]) -> bool:
    return (
        endpoint.role is _DECODE and endpoint.ready and not endpoint.draining and endpoint.name not in without
    )


def _least(found: Sequence[Endpoint], figures: Sequence[int]) -> Sequence[Endpoint]:
    least = min(figures)
    alike = figures.count(least)
    if alike == 1:
        return (found[figures.index(least)],)
    if alike == len(figures):
        return found
    return [e for e, figure in zip(found, figures, strict=True) if figure == least]


@lru_cache(maxsize=4096)
def _crc_of(name: str) -> int:
    """A checksum can be taken up where it stopped, so the name's part of it is taken once."""
    return zlib.crc32(f"{name} ".encode("utf-8", "surrogatepass"))


def _one_less(counts: dict[str, int], name: str) -> None:
    """Gone at zero. Not a ``Counter``, whose misses are a call in Python each."""
    left = counts.get(name, 0) - 1
    if left > 0:
        counts[name] = left
    else:
        counts.pop(name, None)

"""Finds a replica that answers: the one that the session is bound to, or another.

A sidecar that cannot be reached before the first byte, or says that its engine cannot or that it takes no
such work, costs another try elsewhere, where the prompt is computed anew: as many as there are replicas while
none of them has had the request, since a whole node may have gone. A request that was with two replicas when
they were lost is not given to a third: it may be what they died of.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pdscale.model.cluster import Endpoint
from pdscale.model.units import Seconds
from pdscale.placement.binding import Bindings
from pdscale.placement.exchange import Failure
from pdscale.placement.policy import Busy, BusyReason
from pdscale.router.fleet.loads import LOAD_HEADER, hear
from pdscale.router.fleet.roster import Roster
from pdscale.router.hop.inbound import REFUSED_HEADER, Inbound
from pdscale.router.hop.legs import Answer, LegFailed, Legs

_DELIVERIES: Final = 2
_REFUSED: Final = REFUSED_HEADER.encode()
_LOST: Final = Failure.UNREACHABLE.encode()


@dataclass(slots=True)
class Opened:
    """An answer of which something is here: the whole of it, or a stream's first bytes."""

    answer: Answer
    held: bytes
    at: Seconds
    endpoint: str
    refused: bytes | None  # why this replica does not take it

    @property
    def delivered(self) -> bool:
        """Whether an engine may have had it."""
        return self.refused is None or self.refused == _LOST


@dataclass(slots=True)
class Missed:
    """No answer. ``delivered``: the request may have got there."""

    delivered: bool


@dataclass(slots=True)
class Search:
    legs: Legs
    roster: Roster
    bindings: Bindings
    clock: Callable[[], Seconds]

    async def open(self, inbound: Inbound) -> Opened | Busy:
        """The bound replica, else others; each is asked once. If all refuse, the client hears the last."""
        tried: set[str] = set()
        deliveries = 0
        outcome: Opened | Busy = Busy(BusyReason.NO_DECODE_REPLICA)
        while deliveries < _DELIVERIES:
            now = self.clock()
            chosen = self.bindings.bind(inbound.session, self.roster.view(now), now=now, without=tried)
            if isinstance(chosen, Busy):
                return outcome if tried else chosen
            tried.add(chosen.name)
            found = await self._counted(chosen, inbound)
            if isinstance(found, Opened):
                if found.refused is None:
                    return found
                outcome = found
            deliveries += found.delivered
        return outcome

    async def _counted(self, chosen: Endpoint, inbound: Inbound) -> Opened | Missed:
        """Counted before it is sent, so that requests of the same instant spread."""
        found: Opened | Missed | None = None
        self.bindings.began(chosen.name)
        try:
            found = await self._ask(chosen, inbound)
        finally:
            if not isinstance(found, Opened) or found.refused is not None:
                self.bindings.ended(chosen.name)
        return found

    async def _ask(self, chosen: Endpoint, inbound: Inbound) -> Opened | Missed:
        peer = self.roster.peer(chosen.name)
        if peer is None:
            return Missed(delivered=False)
        try:
            answer = await self.legs.open(
                peer.url,
                inbound.target,
                method=inbound.method,
                headers=inbound.headers,
                content=inbound.content,
                replay=True,
            )
        except LegFailed as error:
            self._doubt(chosen.name, error)
            return Missed(delivered=error.sent)
        told = answer.header(LOAD_HEADER)
        if told is not None:
            hear(self.roster, chosen.name, told, now=self.clock())
        try:
            held = await (answer.chunk() if answer.streams else answer.whole())
        except LegFailed as error:
            self._doubt(chosen.name, error)
            answer.close()
            return Missed(delivered=True)
        except BaseException:
            answer.close()
            raise
        return Opened(answer, held, self.clock(), chosen.name, answer.header(_REFUSED))

    def _doubt(self, name: str, error: LegFailed) -> None:
        if error.failure in (Failure.UNREACHABLE, Failure.CUT):
            self.roster.suspect(name, now=self.clock())

"""The front router: binds sessions to decode replicas and measures what clients get.

It decides no placement; that is the business of the bound replica's sidecar, which knows its own
engine best. A sidecar that cannot be reached before the first byte, or says that its engine cannot or
that it takes no such work, costs another try elsewhere, where the prompt is computed anew: as many as there
are replicas while none of them has had the request, since a whole node may have gone. A request that was with
two replicas when they were lost is not given to a third: it may be what they died of.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pdscale.engines.answers import Reading, StreamReader, Usage, read_json
from pdscale.model.cluster import Endpoint
from pdscale.model.slo import SLO
from pdscale.model.units import Seconds
from pdscale.placement.binding import Bindings
from pdscale.placement.exchange import Failure
from pdscale.placement.lengths import Lengths
from pdscale.placement.policy import Busy, BusyReason
from pdscale.router.inbound import REFUSED_HEADER, Inbound
from pdscale.router.legs import Answer, LegFailed, Legs
from pdscale.router.loads import LOAD_HEADER, hear
from pdscale.router.meters import Meters
from pdscale.router.outlet import Outlet
from pdscale.router.pace import Passing
from pdscale.router.roster import Roster

_DELIVERIES: Final = 2
_REFUSED: Final = REFUSED_HEADER.encode()
_LOST: Final = Failure.UNREACHABLE.encode()
_RETRY: Final = b"Retry-After: 1\r\n"


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
class Front:
    legs: Legs
    roster: Roster
    bindings: Bindings
    lengths: Lengths
    meters: Meters
    slo: SLO
    clock: Callable[[], Seconds]

    async def serve(self, inbound: Inbound, outlet: Outlet) -> int:
        try:
            opened = await self._open(inbound)
            if isinstance(opened, Busy):
                return self._busy(inbound, outlet, opened)
            try:
                return await self._answer(inbound, outlet, opened)
            finally:
                opened.answer.close()
                if opened.refused is None:
                    self.bindings.ended(opened.endpoint)
        finally:
            if inbound.once:
                self.bindings.forget(inbound.session)

    async def _open(self, inbound: Inbound) -> Opened | Busy:
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
            found = await self._ask_counted(chosen, inbound)
            if isinstance(found, Opened):
                if found.refused is None:
                    return found
                outcome = found
            deliveries += found.delivered
        return outcome

    async def _ask_counted(self, chosen: Endpoint, inbound: Inbound) -> Opened | Missed:
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

    async def _answer(self, inbound: Inbound, outlet: Outlet, opened: Opened) -> int:
        answer, measured = opened.answer, inbound.body is not None
        if not answer.streams:
            reading = read_json(opened.held)
            outlet.whole(answer.status, answer.headers, reading.content)
            if measured:
                self._judge_whole(inbound, answer.status, reading)
            return answer.status
        reader = StreamReader(hide_usage=inbound.hide_usage)
        passing = Passing(reader, outlet.write, self.clock, last=opened.at)
        outlet.begin(answer.status, answer.headers)
        outlet.write(reader.feed(opened.held))
        try:
            await answer.relay(passing.take, outlet)
        except LegFailed as error:
            if not (reader.done or reader.failed):  # else the client has had the last word already
                self.meters.failed()
                outlet.cut(f"the replica was lost while it answered: {error.failure}", status=502)
                return 502
        else:
            outlet.write(reader.flush())
        outlet.end()
        if not measured:
            return answer.status
        return self._judge_stream(inbound, opened, reader, passing.last)

    def _judge_whole(self, inbound: Inbound, status: int, reading: Reading) -> None:
        """Without a stream neither TTFT nor TPOT can be seen; a failure can."""
        if status >= 500 or status == 429:
            self.meters.failed()
        elif status == 200 and reading.usage is not None:
            self._book(inbound, reading.usage)

    def _judge_stream(self, inbound: Inbound, opened: Opened, reader: StreamReader, last: Seconds) -> int:
        if reader.failed or not reader.done:
            self.meters.failed()
            return 502
        tokens = reader.usage.completion if reader.usage is not None else reader.events
        tpot = (last - opened.at) / (tokens - 1) if tokens > 1 else None
        self.meters.served(self.slo, ttft=opened.at - inbound.arrived, tpot=tpot)
        if reader.usage is not None:
            self._book(inbound, reader.usage)
        return opened.answer.status

    def _book(self, inbound: Inbound, usage: Usage) -> None:
        """Engines that report no prefix hits are taken to have had the session's history at hand."""
        now = self.clock()
        history = self.lengths.estimate(inbound.session, inbound.received_bytes, now=now).history
        cached = history if usage.cached is None else usage.cached
        self.meters.completed(usage, uncached=max(0.0, usage.prompt - cached))
        if not inbound.once:
            self.lengths.learn(
                inbound.session,
                inbound.received_bytes,
                prompt=usage.prompt,
                completion=usage.completion,
                now=now,
            )

    def _busy(self, inbound: Inbound, outlet: Outlet, busy: Busy) -> int:
        if inbound.body is not None:
            self.meters.failed()
        outlet.error(
            busy.status, f"no replica can take the request now: {busy.reason}", kind=busy.reason, own=_RETRY
        )
        return busy.status

    def _doubt(self, name: str, error: LegFailed) -> None:
        if error.failure in (Failure.UNREACHABLE, Failure.CUT):
            self.roster.suspect(name, now=self.clock())

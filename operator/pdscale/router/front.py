"""The front router: binds sessions to decode replicas and measures what clients get.

It decides no placement; that is the business of the bound replica's sidecar, which knows its own
engine best. A sidecar that cannot be reached before the first byte costs one more try elsewhere.
"""

from collections.abc import Callable
from dataclasses import dataclass

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
from pdscale.router.loads import LOAD_HEADER, parse_load_header
from pdscale.router.meters import Meters
from pdscale.router.outlet import Outlet
from pdscale.router.roster import Roster

_TRIES = 2


@dataclass(frozen=True, slots=True)
class Opened:
    """An answer of which something is here: the whole of it, or a stream's first bytes."""

    answer: Answer
    held: bytes
    at: Seconds
    endpoint: str


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
                return await self._busy(inbound, outlet, opened)
            try:
                return await self._answer(inbound, outlet, opened)
            finally:
                opened.answer.close()
                self.bindings.ended(opened.endpoint)
        finally:
            if inbound.once:
                self.bindings.forget(inbound.session)

    async def _open(self, inbound: Inbound) -> Opened | Busy:
        """The bound replica, else one other; each is asked once."""
        tried: set[str] = set()
        busy = Busy(BusyReason.NO_DECODE_REPLICA)
        for _ in range(_TRIES):
            now = self.clock()
            chosen = self.bindings.bind(inbound.session, self.roster.view(now), now=now, without=tried)
            if isinstance(chosen, Busy):
                return busy if tried else chosen
            tried.add(chosen.name)
            opened = await self._counted(chosen, inbound)
            if opened is not None:
                return opened
        return busy

    async def _counted(self, chosen: Endpoint, inbound: Inbound) -> Opened | None:
        """Counted as open from before it is sent, so that requests of the same instant spread."""
        self.bindings.began(chosen.name)
        opened = None
        try:
            opened = await self._ask(chosen, inbound)
            return opened
        finally:
            if opened is None:
                self.bindings.ended(chosen.name)

    async def _ask(self, chosen: Endpoint, inbound: Inbound) -> Opened | None:
        """``None``: this one did not answer, or takes no such work."""
        peer = self.roster.peer(chosen.name)
        if peer is None:
            return None
        try:
            answer = await self.legs.open(
                peer.url + inbound.target,
                method=inbound.method,
                headers=inbound.headers,
                content=inbound.content,
                replay=True,
            )
        except LegFailed as error:
            self._doubt(chosen.name, error)
            return None
        self._hear(chosen.name, answer)
        try:
            if answer.header(REFUSED_HEADER) is None:
                held = await (answer.chunk() if answer.streams else answer.whole())
                return Opened(answer, held, self.clock(), chosen.name)
        except LegFailed as error:
            self._doubt(chosen.name, error)
        except BaseException:
            answer.close()
            raise
        answer.close()
        return None

    async def _answer(self, inbound: Inbound, outlet: Outlet, opened: Opened) -> int:
        answer, measured = opened.answer, inbound.body is not None
        if not answer.streams:
            reading = read_json(opened.held)
            await outlet.whole(answer.status, answer.headers, reading.content)
            if measured:
                self._judge_whole(inbound, answer.status, reading)
            return answer.status
        reader = StreamReader(hide_usage=inbound.hide_usage)
        await outlet.begin(answer.status, answer.headers)
        try:
            last = await self._copy(outlet, opened, reader)
        except LegFailed as error:
            self.meters.failed()
            await outlet.cut(f"the replica was lost while it answered: {error.failure}", status=502)
            return 502
        await outlet.end()
        if not measured:
            return answer.status
        return self._judge_stream(inbound, opened, reader, last)

    async def _copy(self, outlet: Outlet, opened: Opened, reader: StreamReader) -> Seconds:
        """Pass on each piece as it comes; when the last token came."""
        last = opened.at
        await outlet.write(reader.feed(opened.held))
        while chunk := await opened.answer.chunk():
            await outlet.write(reader.feed(chunk))
            if not reader.done:
                last = self.clock()
        await outlet.write(reader.flush())
        return last

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

    async def _busy(self, inbound: Inbound, outlet: Outlet, busy: Busy) -> int:
        if inbound.body is not None:
            self.meters.failed()
        await outlet.error(
            busy.status,
            f"no replica can take the request now: {busy.reason}",
            kind=busy.reason,
            own=[("Retry-After", "1")],
        )
        return busy.status

    def _doubt(self, name: str, error: LegFailed) -> None:
        if error.failure in (Failure.UNREACHABLE, Failure.CUT):
            self.roster.suspect(name, now=self.clock())

    def _hear(self, name: str, answer: Answer) -> None:
        told = answer.header(LOAD_HEADER)
        load = parse_load_header(told, now=self.clock()) if told else None
        if load is not None:
            self.roster.heard(name, load)

"""The front router: binds sessions to decode replicas and measures what clients get.

It decides no placement; that is the business of the bound replica's sidecar, which knows its own
engine best.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from pdscale.engines.answers import Reading, StreamReader, Usage, read_json
from pdscale.model.slo import SLO
from pdscale.model.units import Seconds
from pdscale.placement.binding import Bindings
from pdscale.placement.lengths import Lengths
from pdscale.placement.policy import Busy
from pdscale.router.fleet.roster import Roster
from pdscale.router.flows.search import Opened, Search
from pdscale.router.hop.inbound import Inbound
from pdscale.router.hop.legs import LegFailed, Legs
from pdscale.router.hop.outlet import Outlet
from pdscale.router.hop.pace import Passing
from pdscale.router.meters import Meters

_RETRY: Final = b"Retry-After: 1\r\n"


@dataclass(slots=True)
class Front:
    legs: Legs
    roster: Roster
    bindings: Bindings
    lengths: Lengths
    meters: Meters
    slo: SLO
    clock: Callable[[], Seconds]
    _search: Search = field(init=False)

    def __post_init__(self) -> None:
        self._search = Search(self.legs, self.roster, self.bindings, self.clock)

    async def serve(self, inbound: Inbound, outlet: Outlet) -> int:
        try:
            opened = await self._search.open(inbound)
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

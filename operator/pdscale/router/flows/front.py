"""The front router: binds sessions to decode replicas and has what clients get measured.

It decides no placement; that is the business of the bound replica's sidecar, which knows its own
engine best.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from pdscale.engines.answers import StreamReader, read_json
from pdscale.model.units import Seconds
from pdscale.placement.binding import Bindings
from pdscale.placement.policy import Busy
from pdscale.router.fleet.roster import Roster
from pdscale.router.flows.judge import Judge
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
    meters: Meters
    judge: Judge
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
                self.judge.whole(inbound, answer.status, reading)
            return answer.status
        reader = StreamReader(hide_usage=inbound.hide_usage)
        passing = Passing(reader, outlet, self.clock, last=opened.at)
        outlet.begin(answer.status, answer.headers)
        outlet.write(reader.feed(opened.held))
        try:
            through = passing.through if outlet.takes_chunks else None
            await answer.relay(passing.take, outlet, through)
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
        ended = self.judge.stream(inbound, reader, at=opened.at, last=passing.last)
        return answer.status if ended else 502

    def _busy(self, inbound: Inbound, outlet: Outlet, busy: Busy) -> int:
        if inbound.body is not None:
            self.meters.failed()
        outlet.error(
            busy.status, f"no replica can take the request now: {busy.reason}", kind=busy.reason, own=_RETRY
        )
        return busy.status

"""The client port: every request is counted on arrival and at its end, whatever the end is.

While the router drains it goes on serving, since traffic needs a moment to hear of it, but asks each
client to close its connection.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from pdscale.engines.errors import UnreadableBody
from pdscale.model.units import Seconds
from pdscale.placement.identity import PrefixSessions
from pdscale.router.flows.gate import Gate
from pdscale.router.hop.inbound import (
    HISTORY_HEADER,
    LEG_HEADER,
    PREFILL_LEG,
    TOKENS_HEADER,
    Inbound,
    read_request,
)
from pdscale.router.hop.outlet import Outlet, no_headers
from pdscale.router.meters import Meters, Place
from pdscale.router.traffic import Traffic
from pdscale.router.wire.reply import Reply
from pdscale.router.wire.request import Request

CLIENT_LEFT: Final = 499
_LEG: Final = LEG_HEADER.encode()
_PREFILL: Final = PREFILL_LEG.encode()
_TOKENS: Final = TOKENS_HEADER.encode()
_HISTORY: Final = HISTORY_HEADER.encode()


class Serves(Protocol):
    async def serve(self, inbound: Inbound, outlet: Outlet) -> int: ...


@dataclass(slots=True)
class Surface:
    """``gate`` is present beside an engine, and takes the prefill legs."""

    place: Place
    main: Serves
    gate: Gate | None
    meters: Meters
    traffic: Traffic
    clock: Callable[[], Seconds]
    extra: Callable[[], bytes] = no_headers
    chats: PrefixSessions | None = None

    def __post_init__(self) -> None:
        self.meters.opens(self.place)

    async def handle(self, request: Request, reply: Reply) -> None:
        is_leg = self.gate is not None and request.head.value(_LEG) == _PREFILL
        place = Place.GATE if is_leg else self.place
        self.meters.received(place)
        self.traffic.begin()
        code = CLIENT_LEFT
        outlet = Outlet(reply, self.extra)
        try:
            if self.gate is not None and is_leg:
                tokens = _number(request.head.value(_TOKENS))
                history = _number(request.head.value(_HISTORY))
                code = await self.gate.serve(request, outlet, tokens=tokens, history=history)
            else:
                code = await self.main.serve(
                    read_request(request, now=self.clock(), chats=self.chats), outlet
                )
        except UnreadableBody as error:
            code = 400
            outlet.error(code, str(error), kind="BadRequest")
        except Exception:
            code = 500
            raise
        finally:
            self.traffic.end()
            self.meters.ended(place, code)


def _number(text: bytes | None) -> float:
    """Another router's estimate; what is no number counts for nothing."""
    return float(text) if text is not None and text.isdigit() and len(text) < 10 else 0.0

"""The prefill role: guards the engine, and keeps the legs in order that wait for it.

A prefill leg is passed to the engine in either role, since both roles' engines are alike: one that was
under way while the role changed need not fail.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pdscale.engines.hygiene import forwarded
from pdscale.model.units import Seconds, Tokens
from pdscale.placement.ordering import PrefillLeg
from pdscale.router.flows.plain import lost, refuse
from pdscale.router.flows.tools import Tools
from pdscale.router.flows.turnstile import Turnstile
from pdscale.router.hop.legs import LegFailed
from pdscale.router.hop.outlet import Outlet
from pdscale.router.wire.request import Headers, Request

_starts: Final[dict[bytes, bytes]] = {}  # as in ``hop.inbound``, of what other routers send
_MOST_STARTS: Final = 1024


@dataclass(slots=True)
class Gate:
    """A prefill leg goes to the engine when it is its turn, and its answer back, as they are.

    ``seconds_of`` predicts what new tokens take after a history. Without a ``turnstile`` the engine gets
    everything at once: legs that meet at the engines must not be held back here while the other side waits.
    """

    tools: Tools
    ttft: Seconds
    seconds_of: Callable[[Tokens, Tokens], Seconds]
    turnstile: Turnstile | None = None

    async def serve(self, request: Request, outlet: Outlet, *, tokens: Tokens, history: Tokens) -> int:
        """``tokens`` are to be computed, and look at ``history`` that is computed already."""
        own, began = self.tools.own, self.tools.clock()
        own.queued_tokens += tokens
        try:
            if self.turnstile is None:
                return await self._pass(request, outlet, began)
            seconds = self.seconds_of(tokens, history)
            leg = PrefillLeg(arrived=began, seconds=seconds, deadline=began + self.ttft)
            busy = await self.turnstile.enter(leg)
            if busy is not None:
                return refuse(outlet, busy.reason, status=busy.status)
            try:
                return await self._pass(request, outlet, began)
            finally:
                self.turnstile.leave(leg)
        finally:
            own.queued_tokens -= tokens

    async def _pass(self, request: Request, outlet: Outlet, began: Seconds) -> int:
        own = self.tools.own
        try:
            answer = await self.tools.legs.open(
                own.url,
                request.head.target,
                method="POST",
                headers=_forwarded(request.head.headers),
                content=request.content,
            )
            try:
                reply = await answer.whole()
            finally:
                answer.close()
        except LegFailed as error:
            return lost(outlet, error)
        now = self.tools.clock()
        if answer.status == 200:
            own.ttft.add(now - began, now=now)
        outlet.whole(answer.status, answer.headers, reply)
        return answer.status


def _forwarded(headers: Headers) -> bytes:
    lines: list[bytes] = []
    for name, value in headers:
        start = _starts.get(name)
        if start is None:
            start = _start(name)
        if start:
            lines += (start, value, b"\r\n")
    return b"".join(lines)


def _start(name: bytes) -> bytes:
    """How the line of a header begins that goes on; nothing if it does not."""
    start = name + b": " if any(forwarded([(name.decode("latin-1"), "")])) else b""
    if len(_starts) < _MOST_STARTS:
        _starts[name] = start
    return start

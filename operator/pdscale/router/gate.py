"""The prefill role: guards the engine.

A prefill leg is passed to the engine in either role, since both roles' engines are alike: one that was
under way while the role changed need not fail.
"""

from dataclasses import dataclass
from functools import lru_cache

from pdscale.engines.hygiene import forwarded
from pdscale.router.legs import LegFailed
from pdscale.router.outlet import Outlet
from pdscale.router.plain import lost
from pdscale.router.tools import Tools
from pdscale.router.wire.request import Headers, Request


@dataclass(slots=True)
class Gate:
    """The prefill role: a prefill leg goes to the engine, and its answer back, as they are."""

    tools: Tools

    async def serve(self, request: Request, outlet: Outlet, *, tokens: float) -> int:
        own, began = self.tools.own, self.tools.clock()
        own.queued_tokens += tokens
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
        finally:
            own.queued_tokens -= tokens
        now = self.tools.clock()
        if answer.status == 200:
            own.ttft.add(now - began, now=now)
        outlet.whole(answer.status, answer.headers, reply)
        return answer.status


def _forwarded(headers: Headers) -> bytes:
    return b"".join([b"%b: %b\r\n" % (n, v) for n, v in headers if _goes_on(n)])


@lru_cache(maxsize=1024)
def _goes_on(name: bytes) -> bool:
    return any(forwarded([(name.decode("latin-1"), "")]))

"""Listens for clients and gives each request to a handler, as an errand."""

import asyncio
import logging
import ssl
from collections.abc import Callable, Coroutine
from typing import Any, Final

from pdscale.router.wire.errand import Errand
from pdscale.router.wire.inlet import Inlet
from pdscale.router.wire.reply import Reply
from pdscale.router.wire.request import ErrorBody, Guard, Limits, Request
from pdscale.router.wire.turns import Turns

log = logging.getLogger(__name__)

_BACKLOG: Final = 1024
_JSON: Final = b"content-type: application/json\r\n"

Handler = Callable[[Request, Reply], Coroutine[Any, None, None]]


class Server:
    """``draining``: go on serving, but end each connection with its present answer."""

    def __init__(
        self,
        handler: Handler,
        *,
        guard: Guard,
        error_body: ErrorBody,
        limits: Limits | None = None,
        tick: float = 1.0,
    ) -> None:
        self._handler = handler
        self.guard, self.error_body = guard, error_body
        self.limits = limits or Limits()
        self.draining = False
        self._tick = tick
        self._loop = asyncio.get_running_loop()
        self._turns = Turns(self._loop.time)
        self._inlets: set[Inlet] = set()
        self._listening: list[asyncio.Server] = []
        self._timer: asyncio.TimerHandle | None = None
        self._empty: asyncio.Event | None = None  # waited for by ``close``

    async def listen(
        self, host: str, port: int, *, tls: ssl.SSLContext | None = None, reuse_port: bool = False
    ) -> int:
        """The port that was given, or the one that was found. May be called for several addresses.

        Processes that all ask for ``reuse_port`` share it: the kernel deals out new connections.
        """
        server = await self._loop.create_server(
            lambda: Inlet(self), host, port, backlog=_BACKLOG, ssl=tls, reuse_port=reuse_port
        )
        self._listening.append(server)
        if self._timer is None:
            self._timer = self._loop.call_later(self._tick, self._on_tick)
        return int(server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Stop listening and break what is open."""
        if self._timer is not None:
            self._timer.cancel()
        for server in self._listening:
            server.close()
        for inlet in tuple(self._inlets):
            inlet.abort()
        if self._inlets:  # each leaves in a callback of its own
            self._empty = asyncio.Event()
            await self._empty.wait()

    def joined(self, inlet: Inlet) -> None:
        self._inlets.add(inlet)

    def left(self, inlet: Inlet) -> None:
        self._inlets.discard(inlet)
        if self._empty is not None and not self._inlets:
            self._empty.set()

    def serve(self, request: Request, reply: Reply, inlet: Inlet) -> Errand:
        return Errand(self._serve(request, reply, inlet), self._turns)

    async def _serve(self, request: Request, reply: Reply, inlet: Inlet) -> None:
        """The outermost loop of a request: what nobody expected ends here, with the connection if it must."""
        try:
            await self._handler(request, reply)
        except Exception:
            log.exception("%s %r failed", request.head.method, request.head.path)
            if not reply.status:
                reply.whole(500, _JSON, self.error_body(500, "internal error"))
        finally:
            if not reply.ended:
                inlet.abort()

    def _on_tick(self) -> None:
        self._timer = self._loop.call_later(self._tick, self._on_tick)
        for inlet in tuple(self._inlets):
            inlet.tick(self._tick)

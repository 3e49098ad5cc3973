"""Stands before a prefill replica's gate, where a test can act at a certain instant of a prefill leg.

It takes the gate's place among the peers, passes everything on, and calls ``arrived`` once a leg is on its
way to the gate and ``answered`` when the gate's answer is here, before anybody else has it.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web

from pdscale_e2e.engines.processes import RealEngine

Act = Callable[[], Awaitable[None]]


async def nothing() -> None:
    """An act that a test does not need."""


@dataclass(slots=True)
class Turnpike:
    """``address`` is its own; routers believe that the replica is there."""

    address: str
    engine: RealEngine
    arrived: Act = nothing
    answered: Act = nothing
    legs: int = 0
    _http: aiohttp.ClientSession = field(init=False)

    async def pass_on(self, request: web.Request) -> web.StreamResponse:
        port = request.url.port
        leg = "x-pdscale-leg" in request.headers
        self.legs += leg
        sending = asyncio.ensure_future(self._send(request, f"http://{self.engine.address}:{port}"))
        try:
            if leg:
                await self.arrived()
            status, headers, content = await sending
            if leg:
                await self.answered()
        except (aiohttp.ClientError, OSError) as error:
            return web.Response(status=502, text=repr(error))
        finally:
            sending.cancel()
        return web.Response(status=status, headers=headers, body=content)

    async def _send(self, request: web.Request, url: str) -> tuple[int, dict[str, str], bytes]:
        kept = {n: v for n, v in request.headers.items() if n.lower() not in ("host", "content-length")}
        content = await request.read()
        sent = self._http.request(request.method, url + request.raw_path, data=content, headers=kept)
        async with sent as answer:
            names = ("Content-Type", "x-pdscale-load", "x-pdscale-refused")
            told = {name: answer.headers[name] for name in names if name in answer.headers}
            return answer.status, told, await answer.read()


@asynccontextmanager
async def turnpike(address: str, engine: RealEngine) -> AsyncIterator[Turnpike]:
    found = Turnpike(address, engine)
    app = web.Application(client_max_size=2**24)
    app.router.add_route("*", "/{path:.*}", found.pass_on)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    async with aiohttp.ClientSession() as found._http:
        try:
            for port in (8080, 9090):
                await web.TCPSite(runner, address, port).start()
            yield found
        finally:
            await runner.cleanup()

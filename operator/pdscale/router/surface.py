"""The HTTP surfaces: ``http`` for clients and routers, ``admin`` for probes, metrics and load.

Every request is counted on arrival and at its end, whatever the end is. While the router drains it
goes on serving, since traffic needs a moment to hear of it, but asks each client to close its
connection.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Final, Protocol

import orjson
from aiohttp import web

from pdscale.model.cluster import Load
from pdscale.model.units import Seconds
from pdscale.router.inbound import LEG_HEADER, PREFILL_LEG, TOKENS_HEADER, Inbound, read_request
from pdscale.router.loads import LOAD_HEADER, format_load, load_figures
from pdscale.router.meters import Meters, Place
from pdscale.router.outlet import ClientGone, Outlet
from pdscale.router.sidecar import Gate

LARGEST_BODY: Final = 256 * 1024 * 1024
CLIENT_LEFT: Final = 499

LoadOf = Callable[[], Load]


class Serves(Protocol):
    async def serve(self, inbound: Inbound, outlet: Outlet) -> int: ...


@dataclass(slots=True)
class Traffic:
    """What is open now, and since when nothing is."""

    clock: Callable[[], Seconds]
    open: int = 0
    last_end: Seconds = 0.0
    draining: bool = False

    def begin(self) -> None:
        self.open += 1

    def end(self) -> None:
        self.open -= 1
        self.last_end = self.clock()

    async def drained(self, *, quiet: Seconds, within: Seconds) -> bool:
        """Wait until nothing has been open for ``quiet`` seconds; false if that took too long."""
        began = self.clock()
        while (now := self.clock()) - began < within:
            if not self.open and now - max(self.last_end, began) >= quiet:
                return True
            await asyncio.sleep(min(0.05, within))
        return not self.open


@dataclass(slots=True)
class Surface:
    """``gate`` is present beside an engine, and takes the prefill legs."""

    place: Place
    main: Serves
    gate: Gate | None
    meters: Meters
    traffic: Traffic
    load: LoadOf | None
    clock: Callable[[], Seconds]

    def app(self) -> web.Application:
        app = web.Application(client_max_size=LARGEST_BODY)
        app.router.add_route("*", "/v1/{rest:.*}", self.handle)
        return app

    async def handle(self, request: web.Request) -> web.StreamResponse:
        is_leg = self.gate is not None and request.headers.get(LEG_HEADER) == PREFILL_LEG
        place = Place.GATE if is_leg else self.place
        self.meters.received(place)
        self.traffic.begin()
        code = CLIENT_LEFT
        outlet = Outlet(request, extra=self._extra, last=lambda: self.traffic.draining)
        try:
            code = await self._serve(request, outlet)
        except web.HTTPException as refusal:
            code = refusal.status
            raise
        except ClientGone:
            pass
        except (asyncio.CancelledError, ConnectionError):
            raise
        except BaseException:
            code = 500
            raise
        finally:
            self.traffic.end()
            self.meters.ended(place, code)
        return outlet.response if outlet.response is not None else web.Response(status=CLIENT_LEFT)

    async def _serve(self, request: web.Request, outlet: Outlet) -> int:
        now = self.clock()
        content = await request.read()
        if self.gate is not None and request.headers.get(LEG_HEADER) == PREFILL_LEG:
            return await self.gate.serve(
                outlet,
                target=request.path_qs,
                headers=list(request.headers.items()),
                content=content,
                tokens=_tokens(request.headers.get(TOKENS_HEADER)),
            )
        return await self.main.serve(read_request(request, content, now=now), outlet)

    def _extra(self) -> Iterable[tuple[str, str]]:
        return () if self.load is None else ((LOAD_HEADER, format_load(self.load())),)


def admin_app(
    *,
    ready: Callable[[], Awaitable[str]],
    drained: Callable[[], Awaitable[bool]],
    meters: Meters,
    load: LoadOf | None,
) -> web.Application:
    """``ready`` answers with what is missing, or with nothing.

    ``/drained`` answers when ``drained`` has: the hook that holds an engine's signal back until its
    router has nothing open. It only waits and changes nothing, so that nobody can drain a pod by asking.
    """

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        missing = await ready()
        return web.Response(status=503 if missing else 200, text=(missing or "ok") + "\n")

    async def drained_of(_: web.Request) -> web.Response:
        return web.Response(text="drained\n" if await drained() else "requests are still open\n")

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(
            body=meters.exposition(),
            headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"},
        )

    async def load_of(_: web.Request) -> web.Response:
        if load is None:
            raise web.HTTPNotFound(text="only a sidecar has an engine\n")
        return web.Response(body=orjson.dumps(load_figures(load())), content_type="application/json")

    app = web.Application()
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", metrics)
    app.router.add_get("/load", load_of)
    app.router.add_get("/drained", drained_of)
    return app


def _tokens(text: str | None) -> float:
    """Another router's estimate; what is no number counts for nothing."""
    return float(text) if text is not None and text.isdecimal() and len(text) < 10 else 0.0

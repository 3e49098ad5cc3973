"""The admin port: probes, metrics and load. Cold, hence a plain application of a framework."""

from collections.abc import Awaitable, Callable

import orjson
from aiohttp import web

from pdscale.model.cluster import Load
from pdscale.placement.session_log import Served
from pdscale.router.fleet.loads import load_figures
from pdscale.router.fleet.whereabouts import format_served
from pdscale.router.meters import Meters


def admin_app(
    *,
    ready: Callable[[], Awaitable[str]],
    drained: Callable[[], Awaitable[bool]],
    meters: Meters,
    load: Callable[[], Load] | None,
    served: Callable[[str], Served] | None = None,
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

    async def sessions(request: web.Request) -> web.Response:
        if served is None:
            raise web.HTTPNotFound(text="only a sidecar knows what its engine served\n")
        content = format_served(served(request.query.get("since", "")))
        return web.Response(body=content, content_type="application/json")

    app = web.Application()
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", metrics)
    app.router.add_get("/load", load_of)
    app.router.add_get("/drained", drained_of)
    app.router.add_get("/sessions", sessions)
    return app

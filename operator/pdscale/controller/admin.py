"""The operator's own HTTP server: liveness, readiness, metrics, and the page that shows what it sees."""

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from pdscale.controller.pulse import Pulse
from pdscale.controller.view import pages
from pdscale.model.units import Seconds

SHUTDOWN: Final[Seconds] = 2.0  # for requests that are under way, or whose senders have stopped in the middle


def application(
    registry: CollectorRegistry, pulse: Pulse, ready: Callable[[], bool], state: Callable[[], dict[str, Any]]
) -> web.Application:
    async def healthz(_: web.Request) -> web.Response:
        late = pulse.late()
        return web.Response(text="\n".join(late) or "ok", status=503 if late else 200)

    async def readyz(_: web.Request) -> web.Response:
        return web.Response(text="ok") if ready() else web.Response(text="starting", status=503)

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def seen() -> dict[str, Any]:
        return state()

    app = web.Application()
    app.on_response_prepare.append(one_request_each)
    app.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", metrics)])
    app.add_routes(pages.routes(seen))
    return app


async def one_request_each(_: web.Request, response: web.StreamResponse) -> None:
    """Close after each answer: kopf, when it ends, waits seconds for tasks of idle connections."""
    response.headers["Connection"] = "close"
    response.force_close()


@asynccontextmanager
async def serving(
    app: web.Application, *, host: str, port: int, tls: ssl.SSLContext | None = None
) -> AsyncIterator[str]:
    """Serve until the block ends; gives the address, which matters when the port was 0."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, ssl_context=tls).start()
        bound_host, bound_port = runner.addresses[0][:2]
        yield f"{'http' if tls is None else 'https'}://{bound_host}:{bound_port}"
    finally:
        await runner.cleanup()

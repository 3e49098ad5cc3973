"""Where a router listens, beside the address that it was told."""

import logging
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from pdscale.router.settings import Settings

log = logging.getLogger(__name__)

LOOPBACK: Final = "127.0.0.1"


async def serve_admin(app: web.Application, settings: Settings) -> tuple[web.AppRunner, int]:
    """On the admin port, or on the admin socket, whose port is 0. The caller cleans the runner up."""
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1.0)
    await runner.setup()
    if settings.admin_socket:
        await web.UnixSite(runner, settings.admin_path).start()
        return runner, 0
    await web.TCPSite(runner, settings.host, settings.admin_port).start()
    port = int(runner.addresses[0][1])
    await also_on_loopback(settings, port, lambda: web.TCPSite(runner, LOOPBACK, port).start())
    return runner, port


async def also_on_loopback(settings: Settings, port: int, listen: Callable[[], Awaitable[object]]) -> None:
    """For `kubectl port-forward`, which dials a pod's loopback; not every pod has one of its own."""
    if settings.api is None or settings.host in (LOOPBACK, "0.0.0.0", "::"):
        return
    try:
        await listen()
    except OSError as error:
        log.info("not on %s:%d as well: %s", LOOPBACK, port, error.strerror)

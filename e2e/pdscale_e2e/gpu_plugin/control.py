"""Breaking and mending a GPU from a test: a port of the plugin's pod, and the function that asks it.

HTTP on the pod's address needs neither permissions in the cluster nor a shell in the pod.

    curl http://10.244.1.2:9091/gpus
    curl -X PUT 'http://10.244.1.2:9091/gpus/3?health=unhealthy'
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web

from pdscale_e2e.asking import ask
from pdscale_e2e.gpu_plugin.gpus import Gpus, Health, UnknownGpu

PORT: Final = 9091


def set_health(address: str, number: int, health: Health, *, port: int = PORT) -> None:
    """Break or mend one GPU of the plugin whose pod has this address."""
    ask("PUT", f"http://{address}:{port}/gpus/{number}?health={health.value.lower()}")


def application(gpus: Gpus, registered: Callable[[], bool]) -> web.Application:
    async def listing(_: web.Request) -> web.Response:
        return web.json_response(gpus.health)

    async def mark(request: web.Request) -> web.Response:
        try:
            gpus.mark(int(request.match_info["number"]), _health(request.query.get("health", "")))
        except UnknownGpu as error:
            raise web.HTTPNotFound(text=str(error)) from error
        except ValueError as error:
            raise web.HTTPBadRequest(text=str(error)) from error
        return web.json_response(gpus.health)

    async def ready(_: web.Request) -> web.Response:
        return web.Response(status=200 if registered() else 503)

    app = web.Application()
    app.add_routes(
        [web.get("/gpus", listing), web.put(r"/gpus/{number:\d+}", mark), web.get("/ready", ready)]
    )
    return app


def _health(word: str) -> Health:
    for health in Health:
        if health.value.lower() == word.lower():
            return health
    raise ValueError(f"health must be healthy or unhealthy, got {word!r}")


@asynccontextmanager
async def listening(app: web.Application, host: str, port: int) -> AsyncIterator[None]:
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield
    finally:
        await runner.cleanup()

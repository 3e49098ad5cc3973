"""One router, as a process or as several: from its arguments to its end."""

import asyncio
import gc
import logging
import signal
import sys
from collections.abc import Sequence
from typing import Final

from pdscale.model.units import Seconds
from pdscale.router.app import Router
from pdscale.router.arguments import parse_settings
from pdscale.router.crew.admin import Spokesman, crew_app
from pdscale.router.crew.processes import Crew
from pdscale.router.ports import serve_admin
from pdscale.router.settings import Settings

log = logging.getLogger(__name__)

# Requests leave hardly any cycles behind; the default of 700 would look for them at every other request.
_COLLECT_AFTER: Final = (50_000, 20, 50)
_MARGIN: Final[Seconds] = 5.0  # that a process may need to end after its drain


async def serve(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT, then drain."""
    router, told = Router(settings), _told_to_end()
    if settings.admin_socket:
        _end_with_parent(told)
    try:
        await router.start()
        _settle_memory()
        where = (settings.place, settings.host, router.port, router.admin_port)
        log.info("%s listens on %s:%d, admin port %d", *where)
        if router.picker_port:
            log.info("it is an endpoint picker on port %d", router.picker_port)
        await told.wait()
        await router.drain()
    finally:
        await router.stop()


async def serve_several(settings: Settings, argv: Sequence[str]) -> None:
    """The same, by processes that have these arguments too; here is only their admin port."""
    told = _told_to_end()
    patience = settings.drain_timeout + _MARGIN
    crew = Crew(size=settings.processes, host=settings.host, port=settings.port, arguments=argv)
    spokesman = Spokesman(crew, patience=patience)
    admin, port = await serve_admin(crew_app(spokesman), settings)
    try:
        crew.start()
        where = (settings.place, settings.host, crew.port, port)
        log.info("%s listens on %s:%d, admin port %d, by %d processes", *where, crew.size)
        await told.wait()
        await crew.drain(patience)
    finally:
        await crew.stop()
        await admin.cleanup()


def main(argv: Sequence[str]) -> int:
    settings = parse_settings(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    if settings.processes > 1:  # asyncio's own loop: it reaches sockets without a file, and has little to do
        asyncio.run(serve_several(settings, argv))
        return 0
    try:
        import uvloop
    except ImportError:
        asyncio.run(serve(settings))
    else:
        uvloop.run(serve(settings))
    return 0


def _told_to_end() -> asyncio.Event:
    told, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    return told


def _end_with_parent(told: asyncio.Event) -> None:
    """Whoever started this process holds the other end of its standard input, and says nothing there."""
    loop, pipe = asyncio.get_running_loop(), sys.stdin.fileno()

    def ended() -> None:
        loop.remove_reader(pipe)
        told.set()

    loop.add_reader(pipe, ended)


def _settle_memory() -> None:
    """What is here now stays, so that no collection has to look at it again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECT_AFTER)

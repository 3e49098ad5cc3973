"""One router as a process: from its arguments to its end."""

import asyncio
import gc
import logging
import signal
from collections.abc import Sequence
from typing import Final

from pdscale.router.app import Router
from pdscale.router.settings import Settings, parse_settings

log = logging.getLogger(__name__)

# Requests leave hardly any cycles behind; the default of 700 would look for them at every other request.
_COLLECT_AFTER: Final = (50_000, 20, 50)


async def serve(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT, then drain."""
    router, told = Router(settings), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    try:
        await router.start()
        _settle_memory()
        log.info("%s listens on %s:%d", settings.place, settings.host, router.port)
        await told.wait()
        await router.drain()
    finally:
        await router.stop()


def main(argv: Sequence[str]) -> int:
    settings = parse_settings(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        import uvloop
    except ImportError:
        asyncio.run(serve(settings))
    else:
        uvloop.run(serve(settings))
    return 0


def _settle_memory() -> None:
    """What is here now stays, so that no collection has to look at it again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECT_AFTER)

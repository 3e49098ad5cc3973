"""``python -m pdscale.emulator``: one emulated engine until SIGTERM."""

import asyncio
import os
import signal
import sys

from pdscale.emulator.option_values import BadOption
from pdscale.emulator.options import parse
from pdscale.emulator.server import EngineServer
from pdscale.emulator.settings import Settings


def main() -> int:
    try:
        settings, ignored = parse(sys.argv[1:], os.environ)
    except BadOption as error:
        print(f"pdscale.emulator: error: {error}", file=sys.stderr)
        return 2
    for option in ignored:
        print(f"pdscale.emulator: warning: {option} is ignored", file=sys.stderr)
    try:
        import uvloop
    except ImportError:  # a platform without it runs on asyncio's own loop
        return asyncio.run(_serve(settings))
    return int(uvloop.run(_serve(settings)))


async def _serve(settings: Settings) -> int:
    server = EngineServer(settings)
    await server.start()
    address = f"{settings.host}:{server.port}"
    print(f"pdscale.emulator: {settings.profile.name} on {address}", file=sys.stderr, flush=True)
    asked_to_go = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked_to_go.set)
    events = [loop.create_task(event.wait()) for event in (asked_to_go, server.died)]
    await asyncio.wait(events, return_when=asyncio.FIRST_COMPLETED)
    for task in events:
        task.cancel()
    if server.died.is_set():
        await asyncio.sleep(0.1)  # let the answers out, as a real server does
        await server.stop()
        return 1
    await server.stop(drain=settings.shutdown_timeout)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""``python -m pdscale_e2e.gpu_plugin --node NAME --host POD_IP``: hand out mock GPUs until ended."""

import argparse
import asyncio
import logging
import signal
from collections.abc import Sequence
from pathlib import Path

from pdscale_e2e.gpu_plugin.control import PORT, application, listening
from pdscale_e2e.gpu_plugin.gpus import Gpus
from pdscale_e2e.gpu_plugin.registration import FOLDER, Registration


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m pdscale_e2e.gpu_plugin", description=__doc__)
    parser.add_argument("--node", required=True, help="the node's name, part of the GPUs' ids")
    parser.add_argument("--gpus", type=int, default=8)
    parser.add_argument("--folder", type=Path, default=Path(FOLDER), help="where the kubelet's socket is")
    parser.add_argument("--host", default="127.0.0.1", help="address of the port that sets health")
    parser.add_argument("--port", type=int, default=PORT)
    return parser.parse_args(words)


async def serve(options: argparse.Namespace) -> None:
    gpus = Gpus(options.node, options.gpus)
    registration = Registration(gpus, options.folder)
    app = application(gpus, lambda: registration.registered)
    async with listening(app, options.host, options.port):
        await registration.keep()


async def until_ended(options: argparse.Namespace) -> None:
    running = asyncio.ensure_future(serve(options))
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, running.cancel)
    await asyncio.wait([running])
    if not running.cancelled():
        running.result()


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    asyncio.run(until_ended(parse()))


if __name__ == "__main__":
    main()

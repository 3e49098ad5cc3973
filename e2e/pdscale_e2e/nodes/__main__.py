"""``python -m pdscale_e2e.nodes --kubeconfig FILE --nodes SPEC.json``: serve nodes until ended."""

import argparse
import asyncio
import logging
import os
import signal
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

from pdscale_e2e import kubeconfig
from pdscale_e2e.nodes.agent import Agent
from pdscale_e2e.nodes.spec import load


def parse(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m pdscale_e2e.nodes", description=__doc__)
    parser.add_argument("--kubeconfig", type=Path, required=True)
    parser.add_argument("--nodes", type=Path, required=True, help="JSON list of nodes")
    parser.add_argument("--logs", type=Path, help="where containers' output is kept")
    parser.add_argument(
        "--api", metavar="HOST:PORT", help="the API server's address for pods (as in kubeconfig)"
    )
    return parser.parse_args(words)


async def serve(options: argparse.Namespace, work: Path) -> None:
    access = kubeconfig.read(options.kubeconfig)
    host, _, port = (options.api or urlsplit(access.server).netloc).rpartition(":")
    agent = Agent(
        access,
        load(options.nodes),
        service=(host, port),
        work=work / "pods",
        logs=options.logs or work / "logs",
    )
    serving = asyncio.ensure_future(agent.run())
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, serving.cancel)
    alone = asyncio.create_task(_orphaned(os.getppid()))
    alone.add_done_callback(lambda _: serving.cancel())
    await asyncio.wait([serving])
    alone.cancel()
    if not serving.cancelled():
        serving.result()


async def _orphaned(parent: int) -> None:
    """Until whoever has started us is gone: a test process that was killed cannot end its nodes."""
    while os.getppid() == parent:  # noqa: ASYNC110  # nobody tells of a parent's end
        await asyncio.sleep(1.0)


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    options = parse()
    # The pods' processes end with us, so their volumes may go too.
    with tempfile.TemporaryDirectory(prefix="pdscale-nodes-") as work:
        asyncio.run(serve(options, Path(work)))


if __name__ == "__main__":
    main()

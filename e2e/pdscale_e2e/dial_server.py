"""A load dial: a pod that exports the front router's series for traffic that nobody sends.

The operator sees only metrics, so a test can turn the load up and down at once and to any height, with
status nodes and no engine at all. The pod's name has the form of a router's pod: queries find it by that.

    python -m pdscale_e2e.dial_server --host 10.89.0.7 --port 9090
    curl -X PUT 'http://10.89.0.7:9090/load?rate=12.5'
"""

import argparse
import asyncio
import time
from collections.abc import Sequence
from typing import Final

from aiohttp import web

PROMPT: Final = 1155.0  # mean lengths and raw second moments of the Azure 2023 conversation trace
PROMPT_SQUARED: Final = 2.563e6
OUTPUT: Final = 211.0
OUTPUT_SQUARED: Final = 7.11e4


class Dial:
    """Counters that grow with time at a rate that can be set."""

    def __init__(self) -> None:
        self._rate = 0.0
        self._count = 0.0
        self._since = time.monotonic()

    def turn(self, rate: float) -> None:
        self._count, self._since = self.count, time.monotonic()
        self._rate = rate

    @property
    def count(self) -> float:
        return self._count + self._rate * (time.monotonic() - self._since)

    def exposition(self) -> str:
        count = self.count
        series = {
            'requests_received_total{place="front"}': count,
            'completed_total{place="front"}': count,
            'prompt_tokens_total{place="front"}': count * PROMPT,
            'uncached_prompt_tokens_total{place="front"}': count * PROMPT,
            'uncached_prompt_tokens_squared_total{place="front"}': count * PROMPT_SQUARED,
            'output_tokens_total{place="front"}': count * OUTPUT,
            'output_tokens_squared_total{place="front"}': count * OUTPUT_SQUARED,
        }
        return "".join(f"pdscale_router_{name} {value:.6f}\n" for name, value in series.items())


async def serve(host: str, port: int) -> None:
    dial = Dial()

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(text=dial.exposition(), content_type="text/plain")

    async def load(request: web.Request) -> web.Response:
        dial.turn(float(request.query["rate"]))
        return web.Response()

    app = web.Application()
    app.add_routes([web.get("/metrics", metrics), web.put("/load", load)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    await asyncio.Event().wait()


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, default=9090)
    args = parser.parse_args(argv)
    asyncio.run(serve(args.host, args.port))


if __name__ == "__main__":
    main()

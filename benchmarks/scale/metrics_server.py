"""A metrics server that knows every deployment and the same steady load of each, as a process of its own.

It stands in for Prometheus where the operator is measured and not the server: a real one would compete for
the same two cores. It speaks the protocol and reads no PromQL: a range is answered with all measures of the
operator's history, labelled as its query labels them; an instant query with an empty vector, for nobody
tells anything about single pods.

    python -m benchmarks.scale.metrics_server --host 127.0.0.1 --port 9090 --rate 9
"""

import argparse
import asyncio
import math
from collections.abc import Mapping

from aiohttp import web

from pdscale_e2e.dial_server import OUTPUT, OUTPUT_SQUARED, PROMPT, PROMPT_SQUARED


def measures(rate: float) -> Mapping[str, float]:
    """What the front routers of ``rate`` requests per second would have told, in units per second."""
    return {
        "request_rate": rate,
        "completed": rate,
        "prompt_tokens": rate * PROMPT,
        "uncached_tokens": rate * PROMPT,
        "uncached_tokens_squared": rate * PROMPT_SQUARED,
        "output_tokens": rate * OUTPUT,
        "output_tokens_squared": rate * OUTPUT_SQUARED,
    }


def matrix(known: Mapping[str, float], *, start: float, end: float, step: float) -> list[dict[str, object]]:
    """Every measure at every instant asked for."""
    instants = [start + i * step for i in range(math.floor((end - start) / step) + 1)]
    return [
        {"metric": {"measure": name}, "values": [[t, repr(value)] for t in instants]}
        for name, value in known.items()
    ]


def application(known: Mapping[str, float]) -> web.Application:
    async def history(request: web.Request) -> web.Response:
        asked = await request.post() if request.method == "POST" else request.query
        start, end, step = (float(str(asked[key])) for key in ("start", "end", "step"))
        return _success("matrix", matrix(known, start=start, end=end, step=step))

    async def instant(_: web.Request) -> web.Response:
        return _success("vector", [])

    app = web.Application()
    for path, answer in (("/api/v1/query_range", history), ("/api/v1/query", instant)):
        app.add_routes([web.get(path, answer), web.post(path, answer)])
    return app


def _success(kind: str, result: list[dict[str, object]]) -> web.Response:
    return web.json_response({"status": "success", "data": {"resultType": kind, "result": result}})


async def serve(host: str, port: int, rate: float) -> None:
    runner = web.AppRunner(application(measures(rate)), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True, help="requests per second of each deployment")
    given = parser.parse_args()
    asyncio.run(serve(given.host, given.port, given.rate))


if __name__ == "__main__":
    main()

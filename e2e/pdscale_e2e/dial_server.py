"""A load dial: a pod that exports the front router's series for traffic that nobody sends.

The operator sees only metrics, so a test can turn the load up and down at once and to any height, with
status nodes and no engine at all. The pod's name has the form of a router's pod: queries find it by that.

    python -m pdscale_e2e.dial --host 10.89.0.7 --port 9090
    curl -X PUT 'http://10.89.0.7:9090/load?rate=12.5'
"""

import argparse
import asyncio
import time
from collections.abc import Sequence
from typing import Any, Final

import httpx
from aiohttp import web
from kubernetes import client

from pdscale_e2e.waiting import eventually

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


def manifest(deployment: str) -> dict[str, Any]:
    """The dial's pod for one ServingDeployment; needs a node that runs processes."""
    address = {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
    command = ["python", "-m", "pdscale_e2e.dial", "--host", "$(POD_IP)", "--port", "9090"]
    container = {
        "name": "dial",
        "image": "none",
        "command": command,
        "env": [address],
        "ports": [{"name": "admin", "containerPort": 9090}],
        "readinessProbe": {"httpGet": {"path": "/metrics", "port": 9090}, "periodSeconds": 1},
    }
    labels = {"app.kubernetes.io/managed-by": "pdscale", "pdscale.io/dial": deployment}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"{deployment}-router-0dial-00000", "labels": labels},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 1},
    }


def start(api: client.ApiClient, namespace: str, deployment: str) -> str:
    """Create the dial of a ServingDeployment and wait until it is ready; its address."""
    core: Any = client.CoreV1Api(api)
    name = core.create_namespaced_pod(namespace, manifest(deployment)).metadata.name

    def ready_address() -> str:
        status = core.read_namespaced_pod(name, namespace).status
        ready = any(c.type == "Ready" and c.status == "True" for c in status.conditions or ())
        return str(status.pod_ip) if ready else ""

    return eventually(ready_address, within=30, what=f"the load dial of {deployment} is ready")


def turn(address: str, rate: float) -> None:
    """Set the load of a running dial, in requests per second."""
    httpx.put(f"http://{address}:9090/load", params={"rate": rate}, timeout=5).raise_for_status()


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

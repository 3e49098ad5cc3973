"""A Prometheus that scrapes nothing and is written to, and our reader's questions to it."""

import asyncio
import socket
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from pdscale.prom.access import Access
from pdscale.prom.client import PrometheusHistory
from pdscale_e2e.asking import ask
from pdscale_e2e.backfill import Past
from pdscale_e2e.binaries import program
from pdscale_e2e.component import Component
from pdscale_e2e.waiting import eventually

T = TypeVar("T")

COUNTED = {
    "requests_received_total": 1.0,
    "completed_total": 1.0,
    "prompt_tokens_total": 3000.0,
    "uncached_prompt_tokens_total": 1000.0,
    "uncached_prompt_tokens_squared_total": 2e6,
    "output_tokens_total": 300.0,
    "output_tokens_squared_total": 2e5,
}
"""Front routers' counters, and by how much a request raises each."""


def of_front(counter: str, pod: str = "chat-router-5d8f-abcde", namespace: str = "prod") -> dict[str, str]:
    name = f"pdscale_router_{counter}"
    return {"__name__": name, "namespace": namespace, "pod": pod, "place": "front", "job": "pdscale"}


def counted(
    namespace: str,
    at: NDArray[np.float64],
    requests: NDArray[np.float64],
    *,
    pod: str = "chat-router-5d8f-abcde",
) -> list[Past]:
    """All that a front router counts, of so many requests."""
    return [Past(of_front(name, pod, namespace), at, requests * each) for name, each in COUNTED.items()]


def ended(pasts: list[Past], *, scrape: float) -> list[Past]:
    """With what Prometheus itself writes when a scrape fails, or a target is gone."""
    stale = np.frombuffer(np.uint64(0x7FF0000000000002).tobytes(), dtype=np.float64)
    return [
        Past(past.labels, np.append(past.at, past.at[-1] + scrape), np.append(past.values, stale))
        for past in pasts
    ]


@contextmanager
def written_prometheus(folder: Path) -> Iterator[tuple[str, int]]:
    """Its address and process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    config = folder / "prometheus.yml"
    config.write_text("{}")
    server = Component(
        "prometheus",
        (
            program("prometheus"),
            f"--config.file={config}",
            f"--storage.tsdb.path={folder / 'series'}",
            f"--web.listen-address={address}",
            "--web.enable-remote-write-receiver",
            "--storage.tsdb.retention.time=800d",
            # A head of a day instead of two hours: a year is written in hundreds of parts, not in thousands.
            "--storage.tsdb.min-block-duration=24h",
            "--storage.tsdb.max-block-duration=744h",
            "--log.level=warn",
        ),
        folder / "prometheus.log",
    )

    def ready() -> bool:
        server.check_alive()
        return bool(ask("GET", f"http://{address}/-/ready"))

    server.start()
    try:
        eventually(ready, within=60, what="Prometheus to be ready", every=0.1)
        yield f"http://{address}", server.pid
    finally:
        server.stop()


def asked(url: str, call: Callable[[PrometheusHistory], Coroutine[Any, Any, T]], *, scrape: float) -> T:
    async def run() -> T:
        reader = PrometheusHistory(Access(url, timeout=60.0), scrape_interval=scrape)
        try:
            return await call(reader)
        finally:
            reader.close()

    return asyncio.run(run())

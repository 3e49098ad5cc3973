"""A wired loop on a fake API server, with a clock in the test's hand."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fakes.kube import PLURAL, FakeKube, serving_kube
from fakes.serving import SteadyMetrics, serving
from pdscale.controller.loop import Loop
from pdscale.controller.observe import HistorySource
from pdscale.controller.snapshot import Snapshot
from pdscale.controller.under_kopf import kopf_operator
from pdscale.controller.wiring import Operator, wire
from pdscale.kube.client import Kube
from pdscale.prom.access import Access
from pdscale.prom.servers import MetricsServers
from pdscale.settings import Settings

START = 1_700_000_000.0
PATIENCE = 15.0


@dataclass(slots=True)
class Bench:
    """What a test of the loop holds in its hands."""

    fake: FakeKube
    kube: Kube
    source: SteadyMetrics = field(default_factory=SteadyMetrics)
    servers: MetricsServers | None = None  # real readers in the place of ``source``
    settings: Settings = field(default_factory=Settings)
    now: float = START
    operator: Operator = field(init=False)

    def __post_init__(self) -> None:
        self.restart()

    @property
    def loop(self) -> Loop:
        return self.operator.loop

    def restart(self) -> None:
        """A new process: everything that was only in memory is gone."""

        def source_at(access: Access) -> HistorySource:
            return self.source if self.servers is None else self.servers.at(access)

        self.operator = wire(self.settings, self.kube, source_at, clock=lambda: self.now)

    def create(self, **spec: Any) -> None:
        self.fake.store.create(PLURAL, "default", serving(**spec))

    async def tick(self, *, after: float = 0.0) -> float:
        self.now += after
        return await self.loop.tick(Snapshot.of(self.fake.get(PLURAL, "chat")))

    def replicas(self) -> tuple[int, int]:
        roles = ("prefill", "decode")
        prefill, decode = (self.fake.get("deployments", f"chat-{r}")["spec"]["replicas"] for r in roles)
        return prefill, decode

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.fake.get(PLURAL, "chat").get("status", {})
        return found

    def condition(self, kind: str) -> tuple[str, str, str]:
        found = next(c for c in self.status()["conditions"] if c["type"] == kind)
        return found["status"], found["reason"], found["message"]


@asynccontextmanager
async def bench(folder: Path) -> AsyncIterator[Bench]:
    async with serving_kube() as fake:
        kube = await Kube.connect(fake.kubeconfig(folder / "kubeconfig"), patience=2.0)
        try:
            yield Bench(fake, kube)
        finally:
            await kube.close()


async def eventually(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not holds():  # noqa: ASYNC110  what is waited for is state of a server, not an event of ours
            await asyncio.sleep(0.02)


@asynccontextmanager
async def running(it: Bench, folder: Path, **settings: object) -> AsyncIterator[asyncio.Task[None]]:
    """kopf over the bench's loop, until the block ends."""
    stop, started = asyncio.Event(), asyncio.Event()
    config = Settings(kubeconfig=it.fake.kubeconfig(folder / "config"), **settings)  # type: ignore[arg-type]
    task = asyncio.create_task(kopf_operator(it.loop, config, stop=stop, started=started))
    try:
        yield task
    finally:
        stop.set()
        await task


def ready(it: Bench) -> bool:
    return any(c["type"] == "Ready" for c in it.status().get("conditions", ()))

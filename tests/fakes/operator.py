"""A wired loop on a fake API server, with a clock in the test's hand."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fakes.kube import PLURAL, FakeKube, serving_kube
from fakes.serving import SteadyMetrics, serving
from pdscale.controller.loop import Loop
from pdscale.controller.snapshot import Snapshot
from pdscale.controller.wiring import Operator, wire
from pdscale.kube.client import Kube
from pdscale.settings import Settings

START = 1_700_000_000.0


@dataclass(slots=True)
class Bench:
    """What a test of the loop holds in its hands."""

    fake: FakeKube
    kube: Kube
    source: SteadyMetrics = field(default_factory=SteadyMetrics)
    now: float = START
    operator: Operator = field(init=False)

    def __post_init__(self) -> None:
        self.restart()

    @property
    def loop(self) -> Loop:
        return self.operator.loop

    def restart(self) -> None:
        """A new process: everything that was only in memory is gone."""
        self.operator = wire(Settings(), self.kube, lambda _: self.source, clock=lambda: self.now)

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

"""Ticks of many objects at once: few hold lists at a time, and none waits for another's metrics server."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from fakes.kube import PLURAL, Fault
from fakes.operator import Bench, eventually
from fakes.serving import SteadyMetrics, serving
from pdscale.controller.loop import PLACES
from pdscale.controller.snapshot import Snapshot
from pdscale.model.units import Seconds
from pdscale.scaling.history import History


@dataclass(slots=True)
class HangsForSome(SteadyMetrics):
    """Answers about nobody whose name begins with ``slow``."""

    async def history(
        self,
        *,
        namespace: str,
        name: str,
        window: Seconds,
        step: Seconds,
        now: Seconds,
        overrides: Mapping[str, str],
    ) -> History:
        if name.startswith("slow"):
            self.asked.append(name)
            await asyncio.Event().wait()
        return await SteadyMetrics.history(
            self, namespace=namespace, name=name, window=window, step=step, now=now, overrides=overrides
        )


async def tick(it: Bench, name: str) -> None:
    manifest = serving()
    manifest["metadata"]["name"] = name
    it.fake.store.create(PLURAL, "default", manifest)
    await it.loop.tick(Snapshot.of(it.fake.get(PLURAL, name)))


@asynccontextmanager
async def ticking(it: Bench, count: int) -> AsyncIterator[None]:
    """So many objects whose ticks hang; they are given up when the block ends."""
    tasks = [asyncio.create_task(tick(it, f"slow-{n}")) for n in range(count)]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_objects_whose_metrics_server_hangs_hold_up_no_other(it: Bench) -> None:
    source = it.source = HangsForSome(rate=1.0)
    async with ticking(it, 2 * PLACES):
        await eventually(lambda: len(source.asked) == 2 * PLACES)
        await tick(it, "quick")
    assert it.fake.get(PLURAL, "quick")["status"]["conditions"]


async def test_no_more_objects_than_there_are_places_have_lists_in_hand(it: Bench) -> None:
    it.fake.faults.append(Fault(lambda call: call.path.endswith("/deployments"), silent=True))
    async with ticking(it, 2 * PLACES):
        await eventually(lambda: len(it.fake.calls) >= PLACES)
        for _ in range(100):  # turns in which another would be sent
            await asyncio.sleep(0)
        assert len(it.fake.calls) == PLACES

"""The admin port of several processes: ready when all are, and their counts in one sum."""

import asyncio

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from pdscale.model.units import Seconds
from pdscale.router.crew.processes import Crew, Member
from pdscale.router.crew.tally import Tally


class Roll(Collector):
    """How many processes there are, and how often one was replaced."""

    def __init__(self, crew: Crew) -> None:
        self._crew = crew

    def collect(self) -> list[Metric]:
        restarts = CounterMetricFamily(
            "pdscale_router_process_restarts", "Processes that died unasked and were started again."
        )
        restarts.add_metric((), self._crew.restarts)
        running = GaugeMetricFamily("pdscale_router_processes", "Processes that share the client port.")
        running.add_metric((), len(self._crew.members))
        return [restarts, running]


class Spokesman:
    """Asks the members, and answers for all of them."""

    def __init__(self, crew: Crew, *, patience: Seconds) -> None:
        self._crew, self._patience, self._tally = crew, patience, Tally()
        self._registry = CollectorRegistry()
        self._registry.register(self._tally)
        self._registry.register(Roll(crew))

    async def not_ready_because(self) -> str:
        """Empty when all are ready."""
        crew = self._crew
        if crew.draining:
            return "draining"
        if len(crew.members) < crew.size:
            return f"{len(crew.members)} of {crew.size} processes run"
        told = await asyncio.gather(*(member.ask("/readyz") for member in crew.members))
        missing = ["a process does not answer" if t is None else t[1].strip() for t in told if not _good(t)]
        return missing[0] if missing else ""

    async def drained(self) -> bool:
        asked = (member.ask("/drained", within=self._patience) for member in self._crew.members)
        told = await asyncio.gather(*asked)
        return all(t is not None and t[1].startswith("drained") for t in told)

    async def exposition(self) -> bytes:
        await asyncio.gather(*(self._hear(member) for member in self._crew.members))
        for number in self._crew.take_lost():
            self._tally.departed(number)
        return generate_latest(self._registry)

    async def _hear(self, member: Member) -> None:
        told = await member.ask("/metrics")
        if told is not None and _good(told) and member in self._crew.members:
            self._tally.tell(member.number, told[1])


def crew_app(spokesman: Spokesman) -> web.Application:
    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        missing = await spokesman.not_ready_because()
        return web.Response(status=503 if missing else 200, text=(missing or "ok") + "\n")

    async def drained(_: web.Request) -> web.Response:
        return web.Response(text="drained\n" if await spokesman.drained() else "requests are still open\n")

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(
            body=await spokesman.exposition(),
            headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"},
        )

    app = web.Application()
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/drained", drained)
    app.router.add_get("/metrics", metrics)
    return app


def _good(told: tuple[int, str] | None) -> bool:
    return told is not None and told[0] == 200

"""One cell of the table: one stack under one load, once. And the loads."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from statistics import median
from typing import Final

from benchmarks.router.accounting import resident_bytes, spent
from benchmarks.router.connection import LoadFailed
from benchmarks.router.load import Crowd, Tally
from benchmarks.router.messages import chat, request
from benchmarks.router.site import Running, Site, get
from benchmarks.rows import quantile

TOKENS: Final = 64
CALM: Final = 0.05  # of the time; on a quiet machine a proxy waits for 0 to 3 % of it
_WARM_UP: Final = 0.3
_APART: Final = (
    0.005  # 32 of them have begun in 160 ms, long before the first of 64 tokens each 20 ms has ended
)


@dataclass(frozen=True, slots=True)
class Scenario:
    """``seconds`` of closed loop, or that many full streams per client: ``waves``, the clients' first ones so
    many seconds ``apart``."""

    name: str
    clients: int
    body_bytes: int
    seconds: float = 0.0
    waves: int = 0
    apart: float = 0.0

    @property
    def streams(self) -> bool:
        return self.waves > 0


FULL: Final = (
    Scenario("short", clients=32, body_bytes=166, seconds=1.5),
    Scenario("big", clients=16, body_bytes=200_000, seconds=1.5),
    Scenario("sse32", clients=32, body_bytes=166, waves=2),
    Scenario("apart32", clients=32, body_bytes=166, waves=6, apart=_APART),  # p99 of 192 first tokens
    Scenario("sse256", clients=256, body_bytes=166, waves=2),
)
QUICK: Final = (
    Scenario("short", clients=32, body_bytes=166, seconds=0.8),
    Scenario("big", clients=16, body_bytes=200_000, seconds=0.8),
    Scenario("sse32", clients=32, body_bytes=166, waves=1),
    Scenario("apart32", clients=32, body_bytes=166, waves=1, apart=_APART),
    Scenario("sse256", clients=256, body_bytes=166, waves=1),
)


@dataclass(frozen=True, slots=True)
class Cell:
    """Delays in ms. ``cpu_us`` is per request, or per token for streams.

    ``waited`` is the share of the window in which a thread of the proxy could have run and had no CPU.
    """

    stack: str
    scenario: str
    round: int
    requests: int
    rate: float
    cpu_us: float
    user_us: float
    busy: float
    waited: float
    latency_p50: float
    latency_p99: float
    ttft_p50: float
    ttft_p99: float
    transit_p50: float
    transit_p99: float
    worst_gap: float
    stalls: int
    memory_mb: float
    processes: int

    @property
    def waited_each(self) -> float:
        """Several processes on one core wait for each other, too."""
        return self.waited / max(1, self.processes)

    @property
    def calm(self) -> bool:
        return self.waited_each <= CALM


async def measure(running: Running, site: Site, scenario: Scenario, number: int) -> Cell:
    before = await _counts(site)
    tally = Tally()
    makes = messages(running.stack.name, scenario, tokens=TOKENS if scenario.streams else 8)
    async with clients(running, site, scenario, tally) as crowd:
        await _warm(crowd, messages(running.stack.name, scenario, tokens=8))
        pids = running.pids
        tally.clear()
        start, began = spent(pids), time.monotonic()
        if scenario.streams:
            crowd.start(makes, rounds=scenario.waves, apart=scenario.apart)
            await crowd.calm()
        else:
            crowd.start(makes)
            await asyncio.sleep(scenario.seconds)
        used, wall, requests = spent(pids) - start, time.monotonic() - began, tally.requests
        units = tally.tokens if scenario.streams else requests
        await crowd.finish()
    _check(running, before, await _counts(site))
    if not units:
        raise LoadFailed(f"nothing was answered in {wall:.1f} s")
    return Cell(
        stack=running.stack.name,
        scenario=scenario.name,
        round=number,
        requests=requests,
        rate=requests / wall,
        cpu_us=used.cpu / units * 1e6,
        user_us=used.user / units * 1e6,
        busy=used.cpu / wall,
        waited=max(0.0, used.waited) / wall,  # a thread that ended takes its share along
        processes=len(pids),
        latency_p50=quantile(tally.latency, 0.5) * 1e-6,
        latency_p99=quantile(tally.latency, 0.99) * 1e-6,
        ttft_p50=quantile(tally.ttft, 0.5) * 1e-6,
        ttft_p99=quantile(tally.ttft, 0.99) * 1e-6,
        transit_p50=quantile(tally.transit, 0.5) * 1e-6,
        transit_p99=quantile(tally.transit, 0.99) * 1e-6,
        worst_gap=tally.worst_gap * 1e-6,
        stalls=tally.stalls,
        memory_mb=resident_bytes(pids) / 1e6,
    )


@asynccontextmanager
async def clients(running: Running, site: Site, scenario: Scenario, tally: Tally) -> AsyncIterator[Crowd]:
    """Connected clients; those of a split stack's direct run do the split themselves."""
    crowd = Crowd(scenario.clients, tally)
    alone = running.stack.split and running.stack.commands is None
    try:
        await crowd.open(running.port, site.prefill if alone else None)
        yield crowd
    finally:
        crowd.close()


def messages(stack: str, scenario: Scenario, *, tokens: int) -> list[Callable[[], bytes]]:
    """One session for each client."""
    body = chat(size=scenario.body_bytes, stream=scenario.streams, tokens=tokens)
    return [_always(request(body, f"{stack}-{number}")) for number in range(scenario.clients)]


async def _warm(crowd: Crowd, makes: Sequence[Callable[[], bytes]]) -> None:
    """So that proxies have their connections to the engines, and their code has run.

    Short streams overlap, and so open as many connections as long ones need.
    """
    crowd.start(makes)
    await asyncio.sleep(_WARM_UP)
    await crowd.finish()


def _check(running: Running, before: dict[str, int], after: dict[str, int]) -> None:
    """Whether the stack did what its row says, by the engines' own count."""
    seen = {kind: after.get(kind, 0) - before.get(kind, 0) for kind in ("prefill", "decode", "fault")}
    if seen["fault"]:
        raise LoadFailed(f"the engines found {seen['fault']} requests with wrong transfer parameters")
    if (seen["prefill"] == seen["decode"]) != running.stack.split:
        raise LoadFailed(f"{seen['prefill']} prefill legs beside {seen['decode']} decode legs")


async def _counts(site: Site) -> dict[str, int]:
    counts: dict[str, int] = json.loads(await asyncio.to_thread(get, site.decode, "/counts"))
    return counts


def _always(message: bytes) -> Callable[[], bytes]:
    return lambda: message


def middle(cells: Iterable[Cell], figure: Callable[[Cell], float]) -> float | None:
    """The median over rounds; no cells, no figure."""
    values = [figure(cell) for cell in cells]
    return median(values) if values else None


def of(cells: Sequence[Cell], stack: str, scenario: str) -> list[Cell]:
    return [c for c in cells if (c.stack, c.scenario) == (stack, scenario)]

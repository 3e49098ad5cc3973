"""Whether memory stays flat: many requests of many sessions through our front and sidecar.

All sessions have been seen long before a fifth of the requests, so what grows after that grows with
requests, which nothing may.
"""

import asyncio
from collections.abc import Callable
from itertools import count
from typing import Final

from benchmarks.router.accounting import resident_bytes, tree
from benchmarks.router.load import Crowd, Tally
from benchmarks.router.messages import chat, request
from benchmarks.router.site import Running, Site, start
from benchmarks.router.stacks import SOAKED
from benchmarks.rows import Goal, Row

_SESSIONS: Final = 10_000
_CLIENTS: Final = 32
_STEPS: Final = 10
_SETTLED: Final = 2  # steps after which only a leak grows
_PARTS: Final = ("front", "sidecar")


async def rows(site: Site, requests: int) -> list[Row]:
    running = await asyncio.to_thread(start, SOAKED, site)
    seen = await _soak(running, requests)
    sessions = min(_SESSIONS, requests // _STEPS)
    config = f"{requests} requests of {sessions} sessions; at the end"
    return [
        Row(
            f"{part}: memory against that after 20 % of the soak",
            series[-1] / series[_SETTLED - 1],
            "",
            f"{config} {series[-1]:.1f} MB",
            Goal("<=", 1.05),
        )
        for part, series in zip(_PARTS, zip(*seen, strict=True), strict=True)
    ]


async def _soak(running: Running, requests: int) -> list[list[float]]:
    tally, seen = Tally(), []
    crowd = Crowd(_CLIENTS, tally)
    makes = [_next_session(min(_SESSIONS, requests // _STEPS))] * _CLIENTS
    answered = 0
    try:
        await crowd.open(running.port)
        for step in range(1, _STEPS + 1):
            crowd.start(makes, rounds=max(1, requests // _STEPS // _CLIENTS))
            await crowd.calm(within=3600)
            answered += tally.requests
            tally.clear()
            seen.append([resident_bytes(tree([p.pid])) / 1e6 for p in running.processes])
            told = ", ".join(f"{part} {mb:.1f} MB" for part, mb in zip(_PARTS, seen[-1], strict=True))
            print(f"{100 * step // _STEPS:3d} %  {answered} requests  {told}", flush=True)
    finally:
        crowd.close()
    return seen


def _next_session(sessions: int) -> Callable[[], bytes]:
    body, numbers = chat(size=166, stream=False, tokens=8), count()
    return lambda: request(body, f"soak-{next(numbers) % sessions}")

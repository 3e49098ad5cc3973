"""Waiting until an engine is idle, by its own figures.

Figures of real engines may stand still once nothing runs, at what they were before the last streams were
broken off: a request of one token makes the engine step and count again.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from pdscale.model.units import Seconds
from pdscale.model.workload import NoData
from pdscale.scenarios.profiling.client import Engine
from pdscale.scenarios.profiling.facts import busy

_POLL: Final = 0.05


async def still_running(
    engine: Engine, nudge: Callable[[], Awaitable[object]], *, patience: Seconds
) -> int | NoData:
    """Requests that run or wait there, 0 as soon as there are none, what is left after ``patience`` else."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + patience
    while True:
        running = busy(await engine.metrics() or "")
        if isinstance(running, NoData) or not running or clock() > deadline:
            return running
        await nudge()
        await asyncio.sleep(_POLL)

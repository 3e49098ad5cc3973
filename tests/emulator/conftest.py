"""Two engines that know each other and one alone, on loopback; a client for all."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import pytest

from fakes.emulated import Client, settings
from pdscale.emulator.server import EngineServer
from pdscale.emulator.settings import Settings

Start = Callable[..., Any]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Starts servers with changed settings; all are stopped at the end."""
    async with AsyncExitStack() as stack:

        async def begin(told: Settings | None = None, **changes: Any) -> EngineServer:
            return await stack.enter_async_context(EngineServer(told or settings(**changes)))

        yield begin


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as http:
        yield Client(http)


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool]], Any]:
    """Waits until something holds, at most 10 s."""

    async def wait(holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not holds():  # noqa: ASYNC110 - the engine's state has no event of its own
                await asyncio.sleep(0.005)

    return wait

"""For tests of routers: a world of fake engines that must be left without a breach and without a leg alone.

async with conforming(KvWorld()) as world, running_fleet(world=world) as fleet: ...
async with conforming(RoomWorld()) as world, running_fleet(world=world, new_engine=FakeSGLang) as fleet: ...
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

from fakes.contract_sglang import RoomWorld
from fakes.contract_vllm import KvWorld

W = TypeVar("W", KvWorld, RoomWorld)


def left_alone(world: KvWorld | RoomWorld) -> int:
    """Legs that hold an engine's memory for another that never came."""
    return world.stranded if isinstance(world, KvWorld) else world.lonely


@asynccontextmanager
async def conforming(world: W, *, alone: int = 0) -> AsyncIterator[W]:
    """``alone`` is how many legs the test leaves alone on purpose, as when an engine dies."""
    yield world
    assert world.violations == []
    assert left_alone(world) == alone

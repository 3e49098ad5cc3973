"""The mock GPUs of one node and their health.

Every watcher gets the list at once and again after each change. Changes that come faster than a watcher
reads are folded into one: the kubelet wants the present state, not the history.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from enum import StrEnum


class Health(StrEnum):
    """As the kubelet spells it."""

    HEALTHY = "Healthy"
    UNHEALTHY = "Unhealthy"


class UnknownGpu(LookupError):
    """The node has no such GPU; asking again cannot help."""


class Gpus:
    """``count`` GPUs, all healthy at first; belongs to one event loop."""

    def __init__(self, node: str, count: int) -> None:
        if count < 1:
            raise ValueError(f"gpus must be at least 1, got {count}")
        self._health = {f"GPU-{node}-{number}": Health.HEALTHY for number in range(count)}
        self._changed = asyncio.Event()

    @property
    def health(self) -> Mapping[str, Health]:
        """Health by id, in the order of the GPUs' numbers."""
        return dict(self._health)

    def mark(self, number: int, health: Health) -> None:
        if not 0 <= number < len(self._health):
            raise UnknownGpu(f"gpu must be in 0..{len(self._health) - 1}, got {number}")
        self._health[tuple(self._health)[number]] = health
        self._changed.set()
        self._changed = asyncio.Event()

    async def watch(self) -> AsyncIterator[Mapping[str, Health]]:
        """The state now, and after every change."""
        while True:
            changed = self._changed
            yield self.health
            await changed.wait()

    def environment(self, ids: Sequence[str]) -> dict[str, str]:
        """What a container sees of the GPUs that it was given."""
        unknown = [name for name in ids if name not in self._health]
        if unknown:
            raise UnknownGpu(f"gpus must be among {', '.join(self._health)}, got {', '.join(unknown)}")
        return {"NVIDIA_VISIBLE_DEVICES": ",".join(ids)}

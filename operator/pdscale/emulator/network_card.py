"""One transfer at a time, in or out. ``speed`` shortens transfers, but no lease: those are the protocol's."""

import heapq
from typing import Generic, TypeVar

from pdscale.model.units import Seconds
from pdscale.perf.profile import Profile

Load = TypeVar("Load")


class NetworkCard(Generic[Load]):
    """What is on its way comes out of ``arrived`` in the order of its arrival."""

    def __init__(self, profile: Profile, speed: float) -> None:
        self._profile = profile
        self._speed = speed
        self._free_at: Seconds = 0.0
        self._under_way: list[tuple[Seconds, int, Load]] = []
        self._number = 0

    def occupy(self, tokens: int, now: Seconds) -> Seconds:
        """When a transfer of so many tokens will be through."""
        seconds = self._profile.transfer_seconds(tokens) / self._speed
        self._free_at = max(now, self._free_at) + seconds
        return self._free_at

    def expect(self, load: Load, at: Seconds) -> None:
        self._number += 1
        heapq.heappush(self._under_way, (at, self._number, load))

    def arrived(self, now: Seconds) -> list[Load]:
        found = []
        while self._under_way and self._under_way[0][0] <= now:
            found.append(heapq.heappop(self._under_way)[2])
        return found

    @property
    def next_arrival(self) -> Seconds | None:
        return self._under_way[0][0] if self._under_way else None

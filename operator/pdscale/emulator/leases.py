"""Blocks that a finished request left for another engine to read, and until when."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from pdscale.emulator.blocks import BlockId
from pdscale.model.units import Seconds

_REMEMBERED: Final = 4096


@dataclass(frozen=True, slots=True)
class Lease:
    blocks: tuple[BlockId, ...]
    until: Seconds


@dataclass(slots=True)
class Leases:
    """By request id. An expired lease is remembered for a while, to tell late readers from strangers."""

    _held: dict[str, Lease] = field(default_factory=dict)
    _expired: dict[str, None] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._held)

    def grant(self, request: str, blocks: tuple[BlockId, ...], *, until: Seconds) -> None:
        if request in self._held:
            raise ValueError(f"lease of {request} exists already")
        self._held[request] = Lease(blocks, until)

    def renew(self, requests: Iterable[str], *, until: Seconds) -> None:
        """A heartbeat never shortens a lease, and does not bring one back."""
        for request in requests:
            lease = self._held.get(request)
            if lease is not None and lease.until < until:
                self._held[request] = Lease(lease.blocks, until)

    def end(self, request: str) -> tuple[BlockId, ...]:
        """Blocks to free because their reader is done; none if there is no such lease."""
        lease = self._held.pop(request, None)
        return lease.blocks if lease is not None else ()

    def came_too_late(self, request: str) -> bool:
        return request in self._expired

    def expire(self, now: Seconds) -> list[Lease]:
        """Leases whose time is up; they are gone afterwards."""
        over = [request for request, lease in self._held.items() if lease.until <= now]
        for request in over:
            self._expired[request] = None
        while len(self._expired) > _REMEMBERED:
            del self._expired[next(iter(self._expired))]
        return [self._held.pop(request) for request in over]

    @property
    def next_expiry(self) -> Seconds | None:
        return min((lease.until for lease in self._held.values()), default=None)

"""The transfer parameters that decode engines handed out, one per session, each to be used once and in time.

A used or expired set is accepted by engines without complaint and may read freed blocks, so that
both are this ledger's duty. ``remote_blocks_expiry_time`` is on the engine's clock, which is either
the wall clock or the host's monotonic one depending on the version; both are tried, since the
engine shares the router's host. Where neither makes sense, and for local rounds that carry no time
at all, the connector's lease counts.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pdscale.model.units import Seconds

_LONGEST: Final[Seconds] = 3600.0  # no deployment pins blocks for longer than this


@dataclass(frozen=True, slots=True)
class Clocks:
    """One instant on the router's two clocks."""

    monotonic: Seconds
    wall: Seconds


@dataclass(frozen=True, slots=True)
class Entry:
    params: Mapping[str, Any]
    until: Seconds


@dataclass(slots=True)
class Ledger:
    """Single use, with a deadline ``margin`` seconds before the engine's own."""

    lease: Seconds = 30.0
    margin: Seconds = 2.0
    capacity: int = 100_000
    _entries: OrderedDict[str, Entry] = field(default_factory=OrderedDict)

    def __post_init__(self) -> None:
        if not 0 <= self.margin < self.lease:
            raise ValueError(
                f"margin must be at least 0s and below the lease ({self.lease}s), got {self.margin}s"
            )

    def keep(self, session: str, params: Mapping[str, Any], clocks: Clocks) -> None:
        """Replace what is known of the session; the older blocks are of no use beside the newer."""
        left = _time_left(params.get("remote_blocks_expiry_time"), clocks)
        until = clocks.monotonic + (self.lease if left is None else left) - self.margin
        self._entries[session] = Entry(params, until)
        self._entries.move_to_end(session)
        if len(self._entries) > self.capacity:
            self._entries.popitem(last=False)

    def has(self, session: str, now: Seconds) -> bool:
        entry = self._entries.get(session)
        return entry is not None and now < entry.until

    def take(self, session: str, now: Seconds) -> Mapping[str, Any] | None:
        """The session's parameters, for the one use they have; ``None`` if there are none in time."""
        entry = self._entries.pop(session, None)
        return entry.params if entry is not None and now < entry.until else None

    def drop(self, session: str) -> None:
        self._entries.pop(session, None)

    def __len__(self) -> int:
        return len(self._entries)


def _time_left(expiry: object, clocks: Clocks) -> Seconds | None:
    if isinstance(expiry, bool) or not isinstance(expiry, int | float):
        return None
    for clock in (clocks.wall, clocks.monotonic):
        if abs(expiry - clock) <= _LONGEST:
            return expiry - clock
    return None

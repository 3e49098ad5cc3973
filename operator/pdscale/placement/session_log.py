"""Which sessions a decode replica served last: what front routers learn each other's bindings from.

The replica that holds a session's KV is the one that knows, so its log is the store that several front
routers share: nothing else has to be up, and nothing can disagree with where the KV is. A front router
that has just started, or did not see the last round, reads it here.

A log is asked with the mark of the last answer. A mark of another life of the replica, or none, gets
everything, the latest first and at most ``page`` names: a session that is not among them is bound anew,
which costs a recomputed history and no more.
"""

import secrets
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice

from pdscale.model.units import Seconds


@dataclass(frozen=True, slots=True)
class Served:
    """Sessions by how long ago their last round began, the latest first; ``mark`` is for next time."""

    mark: str
    ago: Mapping[str, Seconds]


@dataclass(slots=True)
class SessionLog:
    """Bounded by number; the sessions that were not asked for the longest go first."""

    capacity: int = 100_000
    page: int = 20_000
    life: str = field(default_factory=lambda: secrets.token_hex(6))
    _entries: OrderedDict[str, tuple[int, Seconds]] = field(default_factory=OrderedDict)
    _number: int = 0

    def __post_init__(self) -> None:
        for name in ("capacity", "page"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    def note(self, session: str, now: Seconds) -> None:
        self._number += 1
        self._entries[session] = (self._number, now)
        self._entries.move_to_end(session)
        if len(self._entries) > self.capacity:
            self._entries.popitem(last=False)

    def since(self, mark: str, now: Seconds) -> Served:
        after = self._number_of(mark)
        ago: dict[str, Seconds] = {}
        for session, (number, at) in islice(reversed(self._entries.items()), self.page):
            if number <= after:
                break
            ago[session] = max(0.0, now - at)
        return Served(f"{self.life}.{self._number}", ago)

    def _number_of(self, mark: str) -> int:
        life, _, number = mark.partition(".")
        return int(number) if life == self.life and number.isdecimal() and len(number) < 20 else 0

"""When each object was last looked at. A process that lives but no longer ticks is not healthy."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from pdscale.model.units import Seconds

MISSED: Final = 3  # ticks that may be missed before somebody should restart us
SLACK: Final[Seconds] = 30.0  # a tick may wait for a slow API server; that is no death


@dataclass(slots=True)
class Pulse:
    """Last tick of every object, on a clock that only moves forward.

    A slow metrics server is no death either: what a tick may spend on it (``allow``) comes on top.
    """

    clock: Callable[[], Seconds]
    _beats: dict[str, tuple[Seconds, Seconds]] = field(default_factory=dict)
    _allowed: dict[str, Seconds] = field(default_factory=dict)

    def beat(self, who: str, *, next_in: Seconds) -> None:
        self._beats[who] = (self.clock(), next_in)

    def allow(self, who: str, seconds: Seconds) -> None:
        """From now on a tick of ``who`` may last so much longer."""
        self._allowed[who] = seconds

    def forget(self, who: str) -> None:
        self._beats.pop(who, None)
        self._allowed.pop(who, None)

    def late(self) -> tuple[str, ...]:
        """What is overdue and by how much, one sentence each; empty means healthy."""
        now = self.clock()
        return tuple(
            f"{who}: last tick {now - at:.0f}s ago, limit {self._limit(who, next_in):.0f}s"
            for who, (at, next_in) in sorted(self._beats.items())
            if now - at > self._limit(who, next_in)
        )

    def _limit(self, who: str, next_in: Seconds) -> Seconds:
        return MISSED * next_in + SLACK + self._allowed.get(who, 0.0)

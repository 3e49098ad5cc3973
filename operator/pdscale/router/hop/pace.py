"""Passes a stream's pieces on inside the socket's callback, and notes the pace of its tokens.

Most reads are one chunk with one event which carries a token and no more. These go ``through`` as they came,
chunk and all; whatever else there may be is taken out of its chunks, read, and put into new ones.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pdscale.engines.answers import StreamReader
from pdscale.model.units import Seconds
from pdscale.placement.window import SlidingMean
from pdscale.router.hop.outlet import Outlet

# The mean is weighted by tokens, so that noting several at once changes nothing but the work.
_EVERY: Final[Seconds] = 0.05


@dataclass(slots=True)
class Pace:
    reader: StreamReader
    outlet: Outlet
    itl: SlidingMean
    clock: Callable[[], Seconds]
    _noted: Seconds = 0.0
    _events: int = 0
    _last: Seconds = 0.0

    def first(self, piece: bytes) -> None:
        """What came with the first byte tells nothing of the pace."""
        self.outlet.write(self.reader.feed(piece))
        self._noted = self._last = self.clock()
        self._events = self.reader.events

    def through(self, data: bytes, start: int) -> bool:
        if not self.reader.passes(data, start):
            return False
        self.outlet.sender.send(data)
        now = self._last = self.clock()
        if now - self._noted >= _EVERY:
            self.note(now)
        return True

    def take(self, piece: bytes) -> None:
        seen = self.reader.events
        self.outlet.write(self.reader.feed(piece))
        if self.reader.events != seen:
            now = self._last = self.clock()
            if now - self._noted >= _EVERY:
                self.note(now)

    def note(self, now: Seconds) -> None:
        """Up to the last token: what passed since then is not between tokens."""
        events = self.reader.events - self._events
        if events:
            self.itl.add((self._last - self._noted) / events, now=now, weight=events)
            self._noted, self._events = self._last, self.reader.events


@dataclass(slots=True)
class Passing:
    """Passes a stream's pieces on inside the socket's callback; ``last`` is when the last token came."""

    reader: StreamReader
    outlet: Outlet
    clock: Callable[[], Seconds]
    last: Seconds

    def through(self, data: bytes, start: int) -> bool:
        if not self.reader.passes(data, start):
            return False
        self.outlet.sender.send(data)
        self.last = self.clock()
        return True

    def take(self, piece: bytes) -> None:
        self.outlet.write(self.reader.feed(piece))
        if not self.reader.done:
            self.last = self.clock()

"""What is already known of a history, so that each tick asks for the new part only.

Columns on one grid that slides with time; what leaves the window is dropped, so the memory of a history is
its number of instants, however long the process runs. Three things make an instant be asked for again:

- it is recent: a scrape that was under way, or a pipeline that lags, may still add to it (``settling``);
- a page before it failed: what follows the last instant that is known to be asked for is asked for again;
- an hour has passed: gaps fill later where agents resend, and nothing kept here may be wrong for long.
"""

import math
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from pdscale.model.units import Seconds
from pdscale.prom.answers import Column, unknown
from pdscale.prom.grid import Grid

REREAD: Final[Seconds] = 3600.0
_LOOKED_AT: Final = 8  # more than one, so that what is forgotten outruns what is new


@dataclass(slots=True)
class Memory:
    """Columns from instant number ``first`` on; what lies before number ``asked`` needs no asking."""

    measures: tuple[str, ...]
    settling: Seconds
    first: int = 0
    asked: int = 0
    whole_at: Seconds = -math.inf
    columns: dict[str, Column] = field(default_factory=dict)

    def wanting(self, grid: Grid) -> Grid:
        """Slide to ``grid``, and say which end of it must be asked for."""
        if not self._continues(grid):
            self.first = self.asked = grid.first
            self.columns = {name: array("d") for name in self.measures}
            self.whole_at = grid.end
        self._slide(grid)
        settled = grid.first + grid.samples - 1 - math.ceil(self.settling / grid.step)
        wanted = grid.since(max(grid.first, min(self.asked, settled)))
        assert wanted is not None  # the newest instant is never settled
        return wanted

    def take(self, page: Grid, columns: Mapping[str, Column]) -> None:
        """What was answered for consecutive instants; they follow what is there, or replace its end."""
        keep = page.first - self.first
        for name in self.measures:
            column = self.columns[name]
            del column[keep:]
            column.extend(columns[name])
        self.asked = page.first + page.samples

    def on(self, grid: Grid) -> dict[str, Column]:
        """All columns, complete, if every page has been taken."""
        return {name: _padded(column, grid.samples) for name, column in self.columns.items()}

    def _continues(self, grid: Grid) -> bool:
        """Not after an hour, nor where the clock went back, nor where all that is known has left."""
        due = grid.end - self.whole_at >= REREAD
        return bool(self.columns) and not due and self.first <= grid.first < self.asked

    def _slide(self, grid: Grid) -> None:
        for column in self.columns.values():
            del column[: grid.first - self.first]
        self.first = grid.first


def _padded(column: Column, samples: int) -> Column:
    return column[:samples] + unknown(max(0, samples - len(column)))


@dataclass(slots=True)
class Memories:
    """One per question, the one asked last at the end; those that nobody asks for any more are forgotten.

    Each question looks at a few of the oldest only: with hundreds of objects, looking at all would be a cost
    of each tick that grows with their number.
    """

    forget_after: Seconds = 1800.0
    _kept: dict[tuple[object, ...], tuple[Memory, Seconds]] = field(default_factory=dict)

    def of(
        self, key: tuple[object, ...], measures: Iterable[str], *, settling: Seconds, now: Seconds
    ) -> Memory:
        found = self._kept.pop(key, None)
        memory = Memory(tuple(measures), settling) if found is None else found[0]
        self._kept[key] = (memory, now)
        for other, (_, asked_at) in list(islice(self._kept.items(), _LOOKED_AT)):
            if now - asked_at > self.forget_after:
                del self._kept[other]
        return memory

    def __len__(self) -> int:
        return len(self._kept)

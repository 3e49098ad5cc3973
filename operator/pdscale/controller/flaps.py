"""Resizes that were undone soon after: replicas that were started for nothing, or ended too early."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from pdscale.kube.scale import ScaleWrite
from pdscale.model.pools import Role
from pdscale.model.units import Seconds

SOON: Final[Seconds] = 600.0  # twice the default window in which replicas are kept


@dataclass(slots=True)
class Flaps:
    """The last resize of each role, kept in memory: a restart forgets at most one flap of each."""

    _last: dict[Role, tuple[Seconds, ScaleWrite]] = field(default_factory=dict)

    def among(self, written: Iterable[ScaleWrite], now: Seconds) -> Iterator[Role]:
        """Roles whose last resize these writes undo, wholly or in part, within ``SOON``."""
        for write in written:
            before = self._last.get(write.role)
            self._last[write.role] = (now, write)
            if before is not None and now - before[0] <= SOON and before[1].direction != write.direction:
                yield write.role

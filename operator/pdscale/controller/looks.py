"""What was seen of workloads that stand still, kept for the next ticks of the same object.

Most ticks of most objects find what the tick before has found, and reading it again is most of what they
cost: the operator, and the API server. So a tick at rest may judge by the former look, as long as watches
have heard of no change since. No scale is written by it: a plan that differs from what is there is made again
on a new look. What a watch has missed is seen after ``OLDEST`` intervals, a minute at most.
"""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from pydantic_core import from_json, to_json

from pdscale.controller.observe import Workloads
from pdscale.controller.snapshot import Snapshot
from pdscale.kube.changes import Mark
from pdscale.model.units import Seconds

OLDEST: Final = 4
_MOST: Final[Seconds] = 60.0


@dataclass(frozen=True, slots=True)
class Look:
    """Packed, a tenth of the memory: an operator keeps one of each object."""

    mark: Mark
    generation: int
    at: Seconds
    packed: bytes

    @classmethod
    def of(cls, workloads: Workloads, seen: Snapshot, mark: Mark, now: Seconds) -> Self:
        """``mark`` was there before the look began, so that no change can fall between."""
        told = {"deployments": workloads.deployments, "pods": workloads.pods}
        return cls(mark, seen.generation, now, zlib.compress(to_json(told), 1))

    def again(
        self, seen: Snapshot, mark: Mark | None, *, now: Seconds, interval: Seconds
    ) -> Workloads | None:
        """The same workloads, unless something has changed or the look is too old."""
        young = 0 <= now - self.at < min(_MOST, OLDEST * interval)
        if mark != self.mark or seen.generation != self.generation or not young:
            return None
        told: Mapping[str, Any] = from_json(zlib.decompress(self.packed))
        return Workloads(told["deployments"], tuple(told["pods"]))

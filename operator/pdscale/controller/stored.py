"""The ServingDeployment itself, as the API server has it: read where the watch is behind, and its status.

A watch may be late, or have fallen silent. So what our own writes were answered with is remembered until the
watch has caught up, and once a minute the object is read.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pdscale.api.v1alpha1 import GROUP, PLURAL, VERSION
from pdscale.controller.snapshot import Snapshot
from pdscale.kube.client import Kube, collection
from pdscale.kube.errors import NotFound
from pdscale.kube.status import difference
from pdscale.model.units import Seconds

READ_EVERY: Final[Seconds] = 60.0


class Gone(Exception):
    """The object was deleted or made anew, and the watch has not said so yet."""


@dataclass(slots=True)
class Stored:
    """All objects, by their uid."""

    kube: Kube
    clock: Callable[[], Seconds]
    _answers: dict[str, Snapshot] = field(default_factory=dict)
    _read: dict[str, Seconds] = field(default_factory=dict)

    def caught_up(self, seen: Snapshot) -> Snapshot:
        """The object as we left it, while the watch is behind: an older view would undo our own status."""
        left = self._answers.get(seen.uid, seen)
        if left.version > seen.version:
            return left
        self._answers.pop(seen.uid, None)
        return seen

    async def read_again(self, seen: Snapshot) -> Snapshot:
        """Once a minute the object itself: a watch that fell silent looks like a world that stands still."""
        now = self.clock()
        if now - self._read.setdefault(seen.uid, now) < READ_EVERY:
            return seen
        try:
            found = Snapshot(await self.kube.get(_path(seen))).lean()
        except NotFound as error:
            raise Gone from error
        if found.uid != seen.uid or found.body["metadata"].get("deletionTimestamp"):
            raise Gone
        self._read[seen.uid] = now
        if found.version <= seen.version:
            return seen
        self._answers[seen.uid] = found  # for the ticks until the watch has caught up
        return found

    async def tell(self, seen: Snapshot, status: Mapping[str, Any]) -> bool:
        """Write what differs from the status that is there; False if the object is there no more."""
        patch = difference(seen.status, status)
        if not patch:
            return True
        try:
            answer = await self.kube.merge(f"{_path(seen)}/status", {"status": patch})
        except NotFound:
            return False
        self._answers[seen.uid] = Snapshot(answer).lean()
        return True

    def forget(self, seen: Snapshot) -> None:
        self._answers.pop(seen.uid, None)
        self._read.pop(seen.uid, None)


def _path(seen: Snapshot) -> str:
    return collection(f"{GROUP}/{VERSION}", PLURAL, seen.namespace, seen.name)

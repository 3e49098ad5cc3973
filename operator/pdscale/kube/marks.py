"""How pods are told that they are to go: two annotations, and what a pod's object says of it.

``pdscale.io/draining`` is read by the routers, which then bind no session to the pod and move those that live
there at their next round. Its value is when that began; any other value is somebody else's mark, which is
respected and left alone: when such a pod was first to go is noted beside it. ``pod-deletion-cost`` is read by
the ReplicaSet controller: among ready pods, it deletes those of the least cost first, so that the pods that
drain are the ones that go.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from pdscale.api.v1alpha1 import GROUP
from pdscale.kube.client import Kube, path_of
from pdscale.kube.errors import NotFound
from pdscale.kube.pools import is_leaving, is_ready
from pdscale.kube.status import timestamp
from pdscale.model.units import Seconds

DRAINING: Final = f"{GROUP}/draining"
NOTED: Final = f"{GROUP}/draining-noted"
COST: Final = "controller.kubernetes.io/pod-deletion-cost"
GOING: Final = -1000  # below what people write, mostly
GOING_FIRST: Final = -2000  # drained before others that are to go: only these are deleted yet


@dataclass(frozen=True, slots=True)
class Mark:
    """What a pod says. ``since`` is when our mark was set, or a ``foreign`` one noted: somebody else's."""

    since: Seconds | None = None
    foreign: bool = False
    cost: int | None = None

    @property
    def drains(self) -> bool:
        return self.foreign or self.since is not None


@dataclass(frozen=True, slots=True)
class Replica:
    """A pod of a pool that nobody has deleted yet. ``created`` sorts as text."""

    name: str
    ready: bool
    created: str
    mark: Mark


def replica(pod: Mapping[str, Any]) -> Replica | None:
    """None for a pod that is on its way out, or has ended."""
    meta = pod["metadata"]
    if is_leaving(pod):
        return None
    return Replica(meta["name"], is_ready(pod), meta.get("creationTimestamp") or "", mark_of(pod))


def mark_of(pod: Mapping[str, Any]) -> Mark:
    said = pod["metadata"].get("annotations") or {}
    since = _time(said[DRAINING]) if DRAINING in said else None
    foreign = DRAINING in said and since is None
    if foreign:
        since = _time(said.get(NOTED, ""))
    cost = said.get(COST, "")
    number = int(cost) if cost.removeprefix("-").isdecimal() else None
    return Mark(since, foreign, number)


async def write_mark(kube: Kube, namespace: str, pod: Replica, *, since: Seconds | None, cost: int) -> None:
    """Mark a pod, or only change its cost where ``since`` is None. A pod that has gone needs none."""
    said: dict[str, str | None] = {COST: str(cost)}
    if since is not None:
        said[NOTED if pod.mark.foreign else DRAINING] = timestamp(since)
    if since is not None and not pod.mark.foreign:
        said[NOTED] = None  # of a mark that its author has taken off
    await _annotate(kube, namespace, pod, said)


async def take_mark_off(kube: Kube, namespace: str, pod: Replica) -> None:
    """The pod stays: routers bind to it again, unless somebody else's mark is on it.

    A cost that it had before our mark is not restored.
    """
    ours = {} if pod.mark.foreign else {DRAINING: None}
    await _annotate(kube, namespace, pod, {**ours, NOTED: None, COST: None})


async def _annotate(kube: Kube, namespace: str, pod: Replica, said: Mapping[str, str | None]) -> None:
    try:
        path = path_of("v1", "Pod", namespace, pod.name)
        await kube.merge(path, {"metadata": {"annotations": dict(said)}})
    except NotFound:
        pass


def _time(text: str) -> Seconds | None:
    """Of a mark of ours, in seconds of the epoch; None for any other text."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found.timestamp() if found.tzinfo is not None else None

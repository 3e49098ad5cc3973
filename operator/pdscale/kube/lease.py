"""A Lease of ``coordination.k8s.io``, and the three calls that an election needs.

Every change names the version that it was made from, so of two takers the API server refuses one. The times
in a Lease are for people: no candidate compares them with its own clock.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from pdscale.kube.client import Kube, Object, collection
from pdscale.kube.errors import NotFound
from pdscale.model.units import Seconds

API: Final = "coordination.k8s.io/v1"


@dataclass(frozen=True, slots=True)
class Lease:
    """A Lease as stored. ``transitions`` counts changes of the holder; an empty holder gave it back."""

    holder: str
    seconds: Seconds
    transitions: int
    renewed: str
    version: str

    @classmethod
    def of(cls, item: Object) -> "Lease":
        spec: dict[str, Any] = item.get("spec") or {}
        return cls(
            holder=spec.get("holderIdentity") or "",
            seconds=float(spec.get("leaseDurationSeconds") or 0),
            transitions=int(spec.get("leaseTransitions") or 0),
            renewed=spec.get("renewTime") or "",
            version=item["metadata"]["resourceVersion"],
        )


@dataclass(frozen=True, slots=True)
class LeaseStore:
    """One Lease by name. ``kube`` must not be fenced by the Lease that it is about."""

    kube: Kube
    namespace: str
    name: str

    async def look(self) -> Lease | None:
        """The Lease, or None when there is none yet."""
        try:
            return Lease.of(await self.kube.get(self._path))
        except NotFound:
            return None

    async def create(self, holder: str, *, seconds: int, wall: Seconds) -> Lease:
        """The first of all; ``Conflict`` if another was quicker."""
        spec = _spec(holder, seconds=seconds, wall=wall)
        spec |= {"acquireTime": _micro(wall), "leaseTransitions": 0}
        named = {"name": self.name, "namespace": self.namespace}
        body = {"apiVersion": API, "kind": "Lease", "metadata": named, "spec": spec}
        return Lease.of(await self.kube.create(collection(API, "leases", self.namespace), body))

    async def take(self, seen: Lease, holder: str, *, seconds: int, wall: Seconds) -> Lease:
        """Take or renew what was seen; ``Conflict`` if it has changed since."""
        spec = _spec(holder, seconds=seconds, wall=wall)
        if seen.holder != holder:
            spec |= {"acquireTime": _micro(wall), "leaseTransitions": seen.transitions + 1}
        return await self._change(seen, spec)

    async def give_back(self, seen: Lease) -> Lease:
        """Nobody holds it from now on: the next candidate need not wait."""
        return await self._change(seen, {"holderIdentity": "", "leaseDurationSeconds": 1})

    async def _change(self, seen: Lease, spec: dict[str, Any]) -> Lease:
        patch = {"metadata": {"resourceVersion": seen.version}, "spec": spec}
        return Lease.of(await self.kube.merge(self._path, patch))

    @property
    def _path(self) -> str:
        return collection(API, "leases", self.namespace, self.name)


def _spec(holder: str, *, seconds: int, wall: Seconds) -> dict[str, Any]:
    return {"holderIdentity": holder, "leaseDurationSeconds": seconds, "renewTime": _micro(wall)}


def _micro(wall: Seconds) -> str:
    return datetime.fromtimestamp(wall, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

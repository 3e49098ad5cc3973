"""Replicas of objects that somebody else made: any kind with a scale subresource, found by API discovery.

The plural of a kind, and whether it has ``/scale``, stand in the resource list of its group; so no kind is
known here by name. Only ``/scale`` of an object is read and written: it says how many replicas are wanted
and, by a label selector, which pods they are. A scale without a selector is refused, because GPUs that cannot
be counted cannot be kept within a budget; an empty one would select every pod of the namespace.

A pod that the selector finds is taken for a replica, as with Deployments and StatefulSets. The selector of a
LeaderWorkerSet finds the leader of each group, so there, too, a pod stands for a replica.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pdscale.api.v1alpha1 import ScaleTargetRef
from pdscale.kube.client import Kube, Object, collection, path_of
from pdscale.kube.errors import Forbidden, NotFound
from pdscale.kube.lean import lean
from pdscale.kube.manifests_pod import GPU
from pdscale.kube.pools import state_of
from pdscale.kube.scale import Scalable
from pdscale.model.pools import PoolState


class TargetUnusable(Exception):
    """A target cannot be scaled as it is; its owner, or that of the ServingDeployment, has to act.

    ``reason`` is one CamelCase word for a condition.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Target:
    """A target as its scale shows it. ``pods`` are those that its selector finds."""

    title: str
    at: Scalable
    replicas: int
    selector: str
    pods: tuple[Object, ...] = ()

    @property
    def pool(self) -> PoolState:
        return state_of(self.replicas, self.pods)


@dataclass(slots=True)
class Targets:
    """Reads targets. Plurals are remembered until an object of theirs is not found."""

    kube: Kube
    _plurals: dict[tuple[str, str], str] = field(default_factory=dict)

    async def read(self, ref: ScaleTargetRef, namespace: str, *, where: str) -> Target:
        """The target and its pods, scale first: a pod made in between is counted beside what wanted it.

        Raises ``TargetUnusable``, or a ``KubeError`` that is not about this target. ``where`` is the field.
        """
        title = title_of(ref)
        plural = await self._plural(ref, where)
        path = collection(ref.api_version, plural, namespace, ref.name)
        try:
            scale = await self.kube.get(f"{path}/scale")
        except NotFound as error:
            self._plurals.pop((ref.api_version, ref.kind), None)
            raise TargetUnusable(
                "TargetNotFound", f"{where} must name an object in {namespace}, got {title}: there is none"
            ) from error
        except Forbidden as error:
            raise Forbidden(f"{error}; the chart's rbac.scaleTargets gives the right") from error
        selector = (scale.get("status") or {}).get("selector") or ""
        if not selector:
            raise TargetUnusable(
                "TargetWithoutSelector",
                f"{where}: the scale of {title} has no status.selector (yet), so its pods and GPUs cannot be "
                "counted; its controller, or labelSelectorPath of its CRD, must tell it",
            )
        # Absent is zero here: that is how a Scale is written down, other than a Deployment.
        wanted = int((scale.get("spec") or {}).get("replicas") or 0)
        pods = await self.kube.list_items(path_of("v1", "Pod", namespace), selector=selector)
        return Target(title, Scalable(path, namespace, ref.name), wanted, selector, tuple(map(lean, pods)))

    async def _plural(self, ref: ScaleTargetRef, where: str) -> str:
        known = self._plurals.get((ref.api_version, ref.kind))
        if known is not None:
            return known
        root = "apis" if "/" in ref.api_version else "api"
        try:
            listed = await self.kube.get(f"/{root}/{ref.api_version}")
        except NotFound:
            listed = {}
        names: dict[str, Object] = {r["name"]: r for r in listed.get("resources") or ()}
        found = [n for n, r in names.items() if r.get("kind") == ref.kind and "/" not in n]
        if not found:
            raise TargetUnusable(
                "TargetKindUnknown",
                f"{where} must be of a kind that the API server serves, got {ref.api_version} {ref.kind}; "
                "install its CRD, or correct the version",
            )
        if f"{found[0]}/scale" not in names or not names[found[0]].get("namespaced"):
            raise TargetUnusable(
                "TargetHasNoScale",
                f"{where} must be of a kind with a scale subresource in a namespace, got {ref.api_version} "
                f"{ref.kind}, which has none",
            )
        self._plurals[ref.api_version, ref.kind] = found[0]
        return found[0]


def title_of(ref: ScaleTargetRef) -> str:
    return f"{ref.kind} {ref.name}"


def gpus_of(pod: Mapping[str, Any]) -> int:
    """GPUs that a pod asks for."""
    containers = (pod.get("spec") or {}).get("containers") or ()
    limits = ((c.get("resources") or {}).get("limits") or {} for c in containers)
    return sum(int(limit.get(GPU, 0)) for limit in limits)

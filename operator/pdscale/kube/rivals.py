"""Who else sets the replicas that we set: HorizontalPodAutoscalers, KEDA's ScaledObjects, and our own kind.

The API server refuses a write to a number that somebody else has set, but only after they have set it, and
every writer of ours would then find out alone. So the autoscalers of a namespace are listed before the first
write, and again every two minutes. A kind that is not installed has none; what we may not list is taken for
none, too, because the API server keeps the peace in any case.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pdscale.api.v1alpha1 import GROUP, PLURAL, VERSION
from pdscale.kube.client import Kube, Object, collection
from pdscale.kube.errors import Forbidden, NotFound
from pdscale.model.units import Seconds

LOOK_EVERY: Final[Seconds] = 120.0
# KEDA makes an HorizontalPodAutoscaler for each ScaledObject: the latter is named where both are there.
AUTOSCALERS: Final = (
    ("keda.sh/v1alpha1", "scaledobjects", "ScaledObject"),
    ("autoscaling/v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler"),
)


@dataclass(frozen=True, slots=True, order=True)
class Scaled:
    """An object that is scaled. Its version is left out: the same object is served in several."""

    group: str
    kind: str
    name: str

    @classmethod
    def of(cls, ref: Mapping[str, Any]) -> "Scaled":
        """What a ``scaleTargetRef`` names, with KEDA's defaults."""
        group = ref.get("apiVersion", "apps/v1").rpartition("/")[0]
        return cls(group, ref.get("kind", "Deployment"), ref["name"])

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


@dataclass(frozen=True, slots=True)
class Autoscaler:
    """Somebody else's autoscaler, such as ``HorizontalPodAutoscaler chat``, and what it scales."""

    title: str
    scales: Scaled


@dataclass(slots=True)
class Rivals:
    """Lists what else scales in a namespace, and remembers it for a while."""

    kube: Kube
    clock: Callable[[], Seconds]
    _autoscalers: dict[str, tuple[Seconds, tuple[Autoscaler, ...]]] = field(default_factory=dict)
    _objects: dict[str, tuple[Seconds, tuple[Object, ...]]] = field(default_factory=dict)

    async def autoscalers(self, namespace: str) -> tuple[Autoscaler, ...]:
        at, found = self._autoscalers.get(namespace, (None, ()))
        if at is None or self.clock() - at >= LOOK_EVERY:
            found = await self.all_autoscalers(namespace)
            self._autoscalers[namespace] = (self.clock(), found)
        return found

    async def objects(self, namespace: str, *, uid: str, generation: int) -> tuple[Object, ...]:
        """ServingDeployments of a namespace, listed anew if the one that asks is not among them as it is."""
        at, found = self._objects.get(namespace, (None, ()))
        known = any(_is(item, uid, generation) for item in found)
        if at is None or not known or self.clock() - at >= LOOK_EVERY:
            found = await self.all_objects(namespace)
            self._objects[namespace] = (self.clock(), found)
        return found

    async def all_autoscalers(self, namespace: str) -> tuple[Autoscaler, ...]:
        """Those of a namespace as they are now."""
        return tuple([each for kind in AUTOSCALERS for each in await self._listed(namespace, *kind)])

    async def all_objects(self, namespace: str) -> tuple[Object, ...]:
        """ServingDeployments of a namespace as they are now."""
        return tuple(await self.kube.list_items(collection(f"{GROUP}/{VERSION}", PLURAL, namespace)))

    async def _listed(self, namespace: str, version: str, plural: str, kind: str) -> list[Autoscaler]:
        try:
            items = await self.kube.list_items(collection(version, plural, namespace))
        except (NotFound, Forbidden):
            return []
        refs = ((i["metadata"]["name"], (i.get("spec") or {}).get("scaleTargetRef") or {}) for i in items)
        return [Autoscaler(f"{kind} {name}", Scaled.of(ref)) for name, ref in refs if ref.get("name")]


def _is(item: Mapping[str, Any], uid: str, generation: int) -> bool:
    meta = item["metadata"]
    return meta.get("uid") == uid and int(meta.get("generation") or 0) >= generation

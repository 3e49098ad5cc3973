"""Replicas go through the ``scale`` subresource, by server-side apply without force.

So the API server itself keeps the peace: when an HorizontalPodAutoscaler or a person has set the
replicas, our write is refused and names them, instead of two writers undoing each other for ever.

The one who renders the pool's template must then not own ``spec.replicas``. A new Deployment has to
start with the right number, though, so creation applies it once, and ``hand_over`` moves the ownership to
the scale's entry before the template is applied without it. Dropping a field that nobody else owns
would reset it: to one replica, the API's default.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from pdscale.kube.client import FIELD_MANAGER, Kube, Object, path_of
from pdscale.kube.errors import CannotApply, Conflict
from pdscale.model.pools import Role, Targets

# Names under which the replicas are ours to take: other writes of this operator, and the placeholder that
# the API server puts in for a value that nobody has ever claimed.
OURS: Final = frozenset({FIELD_MANAGER, "before-first-apply"})


class Direction(StrEnum):
    """Which way a pool goes."""

    UP = "up"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class Scalable:
    """An object that has a scale; ``path`` is its own, without ``/scale``."""

    path: str
    namespace: str
    name: str


def deployment_at(namespace: str, name: str) -> Scalable:
    return Scalable(path_of("apps/v1", "Deployment", namespace, name), namespace, name)


@dataclass(frozen=True, slots=True)
class ScaleWrite:
    """One pool's change."""

    role: Role
    before: int
    after: int

    @property
    def direction(self) -> Direction:
        return Direction.UP if self.after > self.before else Direction.DOWN

    def __str__(self) -> str:
        return f"{self.role} {self.before} -> {self.after}"


@dataclass(frozen=True, slots=True)
class Owned:
    """The write was refused: others own the replicas."""

    write: ScaleWrite
    owners: tuple[str, ...]
    message: str


def writes(current: Targets, targets: Targets) -> tuple[ScaleWrite, ...]:
    """What to write, shrinking pools first: between two writes the budget holds as well."""
    changed = [ScaleWrite(r, current.of(r), targets.of(r)) for r in Role if current.of(r) != targets.of(r)]
    return tuple(sorted(changed, key=lambda w: w.direction is Direction.UP))


def after(current: Targets, done: Iterable[ScaleWrite]) -> Targets:
    """What the scales say once these writes are done."""
    now = {role: current.of(role) for role in Role} | {write.role: write.after for write in done}
    return Targets(now[Role.PREFILL], now[Role.DECODE])


async def apply_scale(kube: Kube, at: Scalable, replicas: int) -> None:
    """Set the replicas, or raise ``Conflict`` with the owners that are not us."""
    path, scale = f"{at.path}/scale", _scale(at, replicas)
    try:
        try:
            await kube.apply(path, scale, force=False)
        except Conflict as conflict:
            if not conflict.owners or not OURS.issuperset(conflict.owners):
                raise
            await kube.apply(path, scale, force=True)
    except CannotApply:  # others' claims have been looked at all the same, by the server and just now
        await overrule(kube, at, replicas)


async def take(kube: Kube, at: Scalable, replicas: int) -> None:
    """Make the replicas ours, whoever has set them, and leave their number.

    For a person who asks for it, once: a writer that goes on writing is then found again, and named. Others'
    claims are struck out, because an apply of the same number would only share them, force or not.
    """
    meta = (await kube.get(at.path))["metadata"]
    before = meta.get("managedFields") or []
    claims = [_unclaimed(entry) for entry in before]
    if claims != before:
        kept = [entry for entry in claims if entry["fieldsV1"]]
        patch = {"resourceVersion": meta["resourceVersion"], "managedFields": kept}
        await kube.merge(at.path, {"metadata": patch})
    await apply_scale(kube, at, replicas)


async def overrule(kube: Kube, at: Scalable, replicas: int) -> None:
    """Set the replicas whoever owns them: an update moves a claim wherever it changes the number.

    For a person who asks for it, where nothing but the scale may be written; the same number moves nothing.
    """
    await kube.merge(f"{at.path}/scale", {"spec": {"replicas": replicas}})


def _unclaimed(entry: Object) -> Object:
    """The entry of another manager without ``spec.replicas``."""
    fields = entry.get("fieldsV1") or {}
    if entry.get("manager") == FIELD_MANAGER or "f:replicas" not in fields.get("f:spec", {}):
        return entry
    spec = {key: value for key, value in fields["f:spec"].items() if key != "f:replicas"}
    rest = {key: value for key, value in fields.items() if key != "f:spec"}
    return {**entry, "fieldsV1": {**rest, "f:spec": spec} if spec else rest}


async def send(kube: Kube, write: ScaleWrite, at: Scalable) -> Owned | None:
    """Perform one write; who stands in the way is a result."""
    try:
        await apply_scale(kube, at, write.after)
    except Conflict as conflict:
        return Owned(write, conflict.owners, str(conflict))
    return None


def template_owns_replicas(deployment: Mapping[str, Any]) -> bool:
    """Whether our own entry for the whole object still claims ``spec.replicas``."""
    for entry in deployment["metadata"].get("managedFields") or ():
        ours = entry.get("manager") == FIELD_MANAGER and entry.get("operation") == "Apply"
        if ours and not entry.get("subresource"):
            spec = (entry.get("fieldsV1") or {}).get("f:spec") or {}
            return "f:replicas" in spec
    return False


async def hand_over(kube: Kube, deployment: Mapping[str, Any]) -> None:
    """Claim the present number for the scale's entry, too. The same value never conflicts."""
    meta = deployment["metadata"]
    at = deployment_at(meta["namespace"], meta["name"])
    await apply_scale(kube, at, int(deployment["spec"]["replicas"]))


def _scale(at: Scalable, replicas: int) -> Object:
    return {
        "apiVersion": "autoscaling/v1",
        "kind": "Scale",
        "metadata": {"name": at.name, "namespace": at.namespace},
        "spec": {"replicas": replicas},
    }

"""Whether somebody else scales what this object scales: then it writes nothing, and says who.

Of two ServingDeployments on one target the older one keeps it, so that a slip in a new object does not stop
a service that runs. Our own pools are told by their names: who names one of them as a target meets its owner.
An object that only recommends scales nothing, and is in nobody's way.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pdscale.api.v1alpha1 import ServingDeployment
from pdscale.controller.snapshot import Snapshot
from pdscale.kube.manifests import child_name
from pdscale.kube.rivals import Autoscaler, Rivals, Scaled
from pdscale.model.pools import Role

Body = Mapping[str, Any]
Claims = Mapping[Role, Scaled]


@dataclass(frozen=True, slots=True)
class Conflicts:
    """Looks for conflicts of all objects."""

    rivals: Rivals

    async def over(self, seen: Snapshot, wanted: ServingDeployment) -> str:
        """Who else scales what this object scales, in words; empty if nobody does."""
        autoscalers = await self.rivals.autoscalers(seen.namespace)
        refers = any(wanted.spec.pool(role).scale_target_ref is not None for role in Role)
        others = (
            await self.rivals.objects(seen.namespace, uid=seen.uid, generation=seen.generation)
            if refers
            else ()
        )
        mine = scaled_by(seen.body)
        referred = {role: mine[role] for role in Role if "scaleTargetRef" in seen.body["spec"][role]}
        told = [
            *with_autoscalers(mine, autoscalers),
            *with_itself(mine),
            *with_objects(referred, others, keeps=lambda other, scaled: _keeps(other, scaled, seen)),
        ]
        return "; ".join(told)


def scaled_by(body: Body) -> dict[Role, Scaled]:
    """What a stored object is about: targets, or Deployments that it makes."""
    spec, name = body.get("spec") or {}, body["metadata"]["name"]
    refs = {role: (spec.get(role) or {}).get("scaleTargetRef") for role in Role}
    own = {role: Scaled("apps", "Deployment", child_name(name, role)) for role in Role}
    return {role: own[role] if ref is None else Scaled.of(ref) for role, ref in refs.items()}


def claims(body: Body) -> dict[Role, Scaled]:
    """What a stored object scales, or will when its pause is over."""
    mode = ((body.get("spec") or {}).get("scaling") or {}).get("mode")
    return {} if mode == "Recommend" else scaled_by(body)


def with_autoscalers(mine: Claims, autoscalers: Iterable[Autoscaler]) -> list[str]:
    named: dict[Scaled, str] = {}
    for rival in autoscalers:
        named.setdefault(rival.scales, rival.title)
    return [
        f"{role}: {named[scaled]} scales {scaled}, too; delete it, or set scaling.mode to Recommend"
        for role, scaled in mine.items()
        if scaled in named
    ]


def with_itself(mine: Claims) -> list[str]:
    if len(set(mine.values())) == len(mine):
        return []
    return [f"prefill and decode must have different targets, got {mine[Role.PREFILL]} twice"]


def with_objects(mine: Claims, others: Iterable[Body], *, keeps: Callable[[Body, Scaled], bool]) -> list[str]:
    """``keeps`` says whether another object, the older ones first, goes before us with what both claim."""
    told: list[str] = []
    for other in sorted(others, key=_age):
        theirs = {scaled: role for role, scaled in claims(other).items()}
        told += [
            f"{role}: {scaled} is {theirs[scaled]} of ServingDeployment {other['metadata']['name']}, "
            "which was there before; name another target, or delete either"
            for role, scaled in mine.items()
            if scaled in theirs and keeps(other, scaled)
        ]
    return told


def _keeps(other: Body, scaled: Scaled, seen: Snapshot) -> bool:
    """Who made a Deployment keeps it; else the elder one does."""
    if other["metadata"].get("uid") == seen.uid:
        return False
    names = {child_name(other["metadata"]["name"], role) for role in Role}
    made = scaled.group == "apps" and scaled.kind == "Deployment" and scaled.name in names
    return made or _age(other) < _age(seen.body)


def _age(body: Body) -> tuple[str, str]:
    """Older ones sort first; times are written alike, to the second."""
    return str(body["metadata"].get("creationTimestamp") or ""), str(body["metadata"]["uid"])

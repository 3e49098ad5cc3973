"""Whether somebody else scales what this object scales: then it writes nothing, and says who.

Of two ServingDeployments on one target the older one keeps it, so that a slip in a new object does not stop
a service that runs. Our own pools are told by their names: who names one of them as a target meets its owner.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pdscale.api.v1alpha1 import ServingDeployment
from pdscale.controller.snapshot import Snapshot
from pdscale.kube.manifests import child_name
from pdscale.kube.rivals import Autoscaler, Rivals, Scaled
from pdscale.model.pools import Role


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
        return "; ".join([*_by_autoscalers(seen, autoscalers), *_by_elders(seen, others)])


def scaled_by(body: Mapping[str, Any]) -> dict[Role, Scaled]:
    """What a stored object scales: targets, or Deployments that it makes."""
    spec, name = body.get("spec") or {}, body["metadata"]["name"]
    refs = {role: (spec.get(role) or {}).get("scaleTargetRef") for role in Role}
    own = {role: Scaled("apps", "Deployment", child_name(name, role)) for role in Role}
    return {role: own[role] if ref is None else Scaled.of(ref) for role, ref in refs.items()}


def _by_autoscalers(seen: Snapshot, autoscalers: Iterable[Autoscaler]) -> list[str]:
    named: dict[Scaled, str] = {}
    for rival in autoscalers:
        named.setdefault(rival.scales, rival.title)
    return [
        f"{role}: {named[scaled]} scales {scaled}, too; delete it, or set scaling.mode to Recommend"
        for role, scaled in scaled_by(seen.body).items()
        if scaled in named
    ]


def _by_elders(seen: Snapshot, others: Iterable[Mapping[str, Any]]) -> list[str]:
    mine, told = scaled_by(seen.body), []
    if len(set(mine.values())) < len(mine):
        told.append(f"prefill and decode must have different targets, got {mine[Role.PREFILL]} twice")
    refs = [role for role in Role if "scaleTargetRef" in seen.body["spec"][role]]
    for other in sorted(others, key=_age):
        theirs = {scaled: role for role, scaled in scaled_by(other).items()}
        told += [
            f"{role}: {scaled} is {theirs[scaled]} of ServingDeployment {other['metadata']['name']}, "
            "which was there before; name another target, or delete either"
            for role, scaled in mine.items()
            if role in refs and scaled in theirs and _keeps(other, scaled, seen)
        ]
    return told


def _keeps(other: Mapping[str, Any], scaled: Scaled, seen: Snapshot) -> bool:
    """Who made a Deployment keeps it; else the elder one does."""
    if other["metadata"].get("uid") == seen.uid:
        return False
    names = {child_name(other["metadata"]["name"], role) for role in Role}
    made = scaled.group == "apps" and scaled.kind == "Deployment" and scaled.name in names
    return made or _age(other) < _age(seen.body)


def _age(body: Mapping[str, Any]) -> tuple[str, str]:
    """Older ones sort first; times are written alike, to the second."""
    return str(body["metadata"].get("creationTimestamp") or ""), str(body["metadata"]["uid"])

"""The objects that a ServingDeployment is made of, kept as rendered by server-side apply.

Applied again when the rendering changed. Once a minute each is looked at, and applied again if it is another
object than the one that was written, or if our claims on its fields are not what they were then
(``managedFields``): whoever changes a value of ours by an update, or by an apply with force, takes that claim
away. That repairs what others changed or deleted, needs no watch, and writes nothing while there is nothing
to repair. What was applied is remembered in memory only, so a restart applies everything once.

A name may be taken by somebody else's object. Then nothing is touched, and the condition says so.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from pdscale.controller.drafts import Draft, digest, home
from pdscale.kube.client import FIELD_MANAGER, Kube, Object
from pdscale.kube.errors import NotFound
from pdscale.kube.scale import hand_over, template_owns_replicas
from pdscale.model.pools import Role
from pdscale.model.units import Seconds

REPAIR_EVERY: Final[Seconds] = 60.0


class NameTaken(Exception):
    """An object of that name exists and belongs to somebody else."""


@dataclass(frozen=True, slots=True)
class _Applied:
    """What was rendered, what the API server said of it, and when it was last known to be so."""

    digest: str
    standing: str
    at: Seconds


@dataclass(slots=True)
class Children:
    """The children of one ServingDeployment."""

    kube: Kube
    owner_uid: str
    _applied: dict[str, _Applied] = field(default_factory=dict)

    async def ensure(
        self,
        drafts: Sequence[Draft],
        *,
        render: Callable[[], Sequence[Object]],
        deployments: Mapping[str, Object],
        seeds: Mapping[Role, int],
        now: Seconds,
    ) -> bool:
        """Apply what is due; True if a Deployment changed and what was listed is stale.

        ``render`` gives the manifests whole, those of the drafts among them, and is asked only if one is due.
        ``deployments`` are those that exist, by name; ``seeds`` the replicas of a pool's first moment.
        """
        changed, whole = False, dict[str, Object]()
        for draft in drafts:
            path, is_deployment = draft.path, draft.kind == "Deployment"
            live = deployments.get(draft.name) if is_deployment else None
            missing = is_deployment and live is None
            before = self._applied.get(path)
            same = before is not None and before.digest == draft.digest and not missing
            if before is not None and same and now - before.at < REPAIR_EVERY:
                continue
            if not is_deployment or before is None or missing:
                live = await self._claimed(path)
            if before is not None and same and live is not None and _standing(live) == before.standing:
                self._applied[path] = replace(before, at=now)
                continue
            whole = whole or {home(m): m for m in render()}
            written = await self._apply(draft, whole[path], live, seeds)
            self._applied[path] = _Applied(draft.digest, _standing(written), now)
            changed = changed or is_deployment
        return changed

    async def _claimed(self, path: str) -> Object | None:
        """The live object if it is ours, None if there is none."""
        try:
            live = await self.kube.get(path)
        except NotFound:
            return None
        owners = {o.get("uid") for o in live["metadata"].get("ownerReferences") or ()}
        if self.owner_uid not in owners:
            raise NameTaken(f"{live['kind']} {live['metadata']['name']} exists and is not ours")
        return live

    async def _apply(
        self, draft: Draft, manifest: Object, live: Object | None, seeds: Mapping[Role, int]
    ) -> Object:
        path, role = draft.path, draft.role
        if role is not None and live is None:
            seeded = {**manifest, "spec": {**manifest["spec"], "replicas": seeds[role]}}
            live = await self.kube.apply(path, seeded, force=True)
        if role is not None and live is not None and template_owns_replicas(live):
            await hand_over(self.kube, live)
        return await self.kube.apply(path, manifest, force=True)


def _standing(live: Object) -> str:
    """Which object it is, and which of its fields are ours by apply; the scale's claims are apart."""
    entries = live["metadata"].get("managedFields") or ()
    ours = [
        entry.get("fieldsV1")
        for entry in entries
        if entry.get("manager") == FIELD_MANAGER
        and entry.get("operation") == "Apply"
        and not entry.get("subresource")
    ]
    return digest({"uid": live["metadata"]["uid"], "ours": ours})

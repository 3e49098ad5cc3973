"""The objects that a ServingDeployment is made of, kept as rendered by server-side apply.

Applied again when the rendering changed, and once a minute in any case: that repairs what others changed or
deleted, needs no watch, and costs the API server nothing while there is nothing to repair (an apply that
changes nothing is not even stored). What was applied is remembered in memory only, so a restart applies
everything once.

A name may be taken by somebody else's object. Then nothing is touched, and the condition says so.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from pdscale.kube.client import Kube, Object, path_of
from pdscale.kube.errors import NotFound
from pdscale.kube.pools import ROLE_LABEL
from pdscale.kube.scale import hand_over, template_owns_replicas
from pdscale.model.pools import Role
from pdscale.model.units import Seconds

REPAIR_EVERY: Final[Seconds] = 60.0


class NameTaken(Exception):
    """An object of that name exists and belongs to somebody else."""


@dataclass(slots=True)
class Children:
    """The children of one ServingDeployment."""

    kube: Kube
    owner_uid: str
    _applied: dict[str, tuple[str, Seconds]] = field(default_factory=dict)

    async def ensure(
        self,
        manifests: Sequence[Object],
        *,
        deployments: Mapping[str, Object],
        seeds: Mapping[Role, int],
        now: Seconds,
    ) -> bool:
        """Apply what is due; True if a Deployment changed and what was listed is stale.

        ``deployments`` are those that exist, by name; ``seeds`` the replicas of a pool's first moment.
        """
        changed = False
        for manifest in manifests:
            path = path_of(manifest["apiVersion"], manifest["kind"], *_named(manifest))
            is_deployment = manifest["kind"] == "Deployment"
            live = deployments.get(manifest["metadata"]["name"]) if is_deployment else None
            missing = is_deployment and live is None
            if not missing and not self._due(path, manifest, now):
                continue
            if path not in self._applied or missing:
                live = await self._claimed(path)
            await self._apply(path, manifest, live, seeds)
            self._applied[path] = (_digest(manifest), now)
            changed = changed or is_deployment
        return changed

    def _due(self, path: str, manifest: Object, now: Seconds) -> bool:
        digest, at = self._applied.get(path, ("", now))
        return digest != _digest(manifest) or now - at >= REPAIR_EVERY

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
        self, path: str, manifest: Object, live: Object | None, seeds: Mapping[Role, int]
    ) -> None:
        role = _pool(manifest)
        if role is not None and live is None:
            seeded = {**manifest, "spec": {**manifest["spec"], "replicas": seeds[role]}}
            live = await self.kube.apply(path, seeded, force=True)
        if role is not None and live is not None and template_owns_replicas(live):
            await hand_over(self.kube, live)
        await self.kube.apply(path, manifest, force=True)


def _named(manifest: Object) -> tuple[str, str]:
    return manifest["metadata"]["namespace"], manifest["metadata"]["name"]


def _pool(manifest: Object) -> Role | None:
    label = manifest["metadata"]["labels"][ROLE_LABEL]
    is_pool = manifest["kind"] == "Deployment" and label in tuple(Role)
    return Role(label) if is_pool else None


def _digest(manifest: Object) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()

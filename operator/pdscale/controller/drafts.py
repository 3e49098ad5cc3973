"""What was rendered of one object, without the bulk: names and digests, kept until what it came from changes.

Rendering is a pure function of the spec, the profile and two annotations of the pools (``pinning``), and none
of these changes in a tick at rest. So it is done once per change. The manifests themselves are not kept:
hundreds of objects' would fill the memory, and whoever has something to apply renders again.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from pdscale.api.v1alpha1 import ServingDeployment
from pdscale.kube.client import Object, path_of
from pdscale.kube.manifests import child_name
from pdscale.kube.pinning import noted
from pdscale.kube.pools import ROLE_LABEL
from pdscale.kube.rollouts import template_of
from pdscale.model.pools import Role
from pdscale.model.units import Seconds
from pdscale.perf.profile import Profile


@dataclass(frozen=True, slots=True)
class Draft:
    """One manifest: where it goes, and what tells it from another rendering.

    ``template`` and ``shape`` are of pod templates, None for other kinds: the former as it is noted on the
    Deployment, the latter without the labels, by which alone replicas of one shape differ. ``role`` is the
    pool's, None for what is no pool.
    """

    path: str
    kind: str
    name: str
    digest: str
    role: Role | None
    template: str | None
    shape: str | None

    @classmethod
    def of(cls, manifest: Object) -> Self:
        meta, kind = manifest["metadata"], manifest["kind"]
        pods = manifest["spec"]["template"] if kind == "Deployment" else None
        label = meta["labels"][ROLE_LABEL]
        return cls(
            path=home(manifest),
            kind=kind,
            name=meta["name"],
            digest=digest(manifest),
            role=Role(label) if pods is not None and label in tuple(Role) else None,
            template=None if pods is None else template_of(manifest),
            shape=None if pods is None else digest([pods["spec"], pods["metadata"].get("annotations")]),
        )


@dataclass(slots=True)
class Drafts:
    """The last rendering of one object."""

    _origin: tuple[Any, ...] | None = None
    _found: tuple[Draft, ...] = ()

    def of(
        self,
        wanted: ServingDeployment,
        profile: Profile,
        live: Mapping[str, Object],
        observed_pause: Seconds | None,
        render: Callable[[], Sequence[Object]],
    ) -> tuple[Draft, ...]:
        """As kept, or made by ``render`` where anything that a rendering looks at is another now."""
        meta = wanted.metadata
        pools = tuple(noted(live.get(child_name(meta.name, role))) for role in Role)
        origin = (meta.uid, meta.generation, profile, observed_pause, pools)
        if origin != self._origin:
            self._found = tuple(map(Draft.of, render()))
            self._origin = origin
        return self._found


def home(manifest: Object) -> str:
    """The path that it is applied to."""
    meta = manifest["metadata"]
    return path_of(manifest["apiVersion"], manifest["kind"], meta["namespace"], meta["name"])


def digest(value: object) -> str:
    """A name for a value of JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()

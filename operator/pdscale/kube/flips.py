"""What a change of role leaves on objects: a note on the receiving Deployment, other labels on the pod.

A pod belongs to the ReplicaSet whose selector its labels match. With the other role and the other
ReplicaSet's hash it is released by the one and adopted by the other, and its containers never hear of it. The
note is written before anything else and says how many replicas either pool has when the change is done, so
that a new process can finish it, or undo it, from what is stored. Afterwards it says when the last change
ended.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from pdscale.api.v1alpha1 import GROUP
from pdscale.kube.client import Kube, path_of
from pdscale.kube.marks import COST, DRAINING, NOTED
from pdscale.kube.pools import DEPLOYMENT_LABEL, ROLE_LABEL
from pdscale.kube.status import timestamp
from pdscale.model.pools import Role
from pdscale.model.units import Seconds

NOTE: Final = f"{GROUP}/role-flip"
FLIPPED_FROM: Final = f"{GROUP}/flipped-from"
HASH: Final = "pod-template-hash"
_REVISION: Final = "deployment.kubernetes.io/revision"

Labels = dict[str, str]


@dataclass(frozen=True, slots=True)
class Flip:
    """A running pod on its way ``to`` a role.

    ``giving`` and ``receiving`` are the replicas of both pools when it is done. Times are seconds of the
    epoch; ``ended`` is absent while it is under way.
    """

    pod: str
    uid: str
    to: Role
    giving: int
    receiving: int
    began: Seconds
    ended: Seconds | None = None

    @property
    def source(self) -> Role:
        return self.to.other

    def done(self, now: Seconds) -> "Flip":
        return replace(self, ended=now)

    def __str__(self) -> str:
        return f"{self.pod} from {self.source} to {self.to}"


def noted(deployment: Mapping[str, Any] | None) -> Flip | None:
    """The last flip into this pool, over or not. A note that nobody understands is none."""
    if deployment is None:
        return None
    text = (deployment["metadata"].get("annotations") or {}).get(NOTE)
    if not text:
        return None
    try:
        said = json.loads(text)
        return Flip(
            pod=str(said["pod"]),
            uid=str(said["uid"]),
            to=Role(said["to"]),
            giving=int(said["giving"]),
            receiving=int(said["receiving"]),
            began=_time(said["began"]),
            ended=_time(said["ended"]) if said.get("ended") else None,
        )
    except (ValueError, TypeError, KeyError):
        return None


async def note(kube: Kube, namespace: str, deployment: str, flip: Flip | None) -> None:
    """Write the note, or take it off."""
    path = path_of("apps/v1", "Deployment", namespace, deployment)
    await kube.merge(path, {"metadata": {"annotations": {NOTE: None if flip is None else _text(flip)}}})


@dataclass(frozen=True, slots=True)
class Home:
    """The present ReplicaSet of a Deployment: its pods have these ``labels``.

    ``replicas`` is what its controller has acted on; absent while it has not seen the last change.
    """

    uid: str
    labels: Labels
    replicas: int | None


async def home_of(kube: Kube, deployment: Mapping[str, Any]) -> Home | None:
    """Where pods of the Deployment live; None if it has no ReplicaSet yet."""
    meta = deployment["metadata"]
    path = path_of("apps/v1", "ReplicaSet", meta["namespace"])
    present = (meta.get("annotations") or {}).get(_REVISION)
    for item in await kube.list_items(path, selector=_pool(deployment)):
        said = item["metadata"].get("annotations") or {}
        if present is not None and said.get(_REVISION) == present:
            seen = (item.get("status") or {}).get("observedGeneration", 0) >= item["metadata"]["generation"]
            labels = dict(item["spec"]["template"]["metadata"]["labels"])
            return Home(item["metadata"]["uid"], labels, item["spec"].get("replicas", 1) if seen else None)
    return None


async def lives_in(kube: Kube, deployment: Mapping[str, Any], home: Home, pod: str) -> bool:
    """Whether the pod of this uid belongs to that ReplicaSet: adopted, so its former one has let it go."""
    path = path_of("v1", "Pod", deployment["metadata"]["namespace"])
    found = (p["metadata"] for p in await kube.list_items(path, selector=_pool(deployment)))
    owners = (o for m in found if m["uid"] == pod for o in m.get("ownerReferences") or ())
    return any(o.get("controller") and o["uid"] == home.uid for o in owners)


async def relabel(kube: Kube, namespace: str, flip: Flip, *, before: Labels, after: Labels) -> None:
    """Give the pod other labels, in one write with everything that a drain has left on it.

    ``before`` are the labels that it has. Raises ``NotFound`` or ``Conflict`` if the pod of that uid is gone.
    """
    labels: dict[str, str | None] = {key: None for key in before if key not in after}
    said: dict[str, str | None] = dict.fromkeys((DRAINING, NOTED, COST))
    there = after[ROLE_LABEL] == flip.to
    said[FLIPPED_FROM] = f"{flip.source} {timestamp(flip.began)}" if there else None
    patch = {"uid": flip.uid, "labels": {**labels, **after}, "annotations": said}
    await kube.merge(path_of("v1", "Pod", namespace, flip.pod), {"metadata": patch})


def _pool(deployment: Mapping[str, Any]) -> str:
    owner = deployment["metadata"]["labels"]
    return f"{DEPLOYMENT_LABEL}={owner[DEPLOYMENT_LABEL]},{ROLE_LABEL}={owner[ROLE_LABEL]}"


def _text(flip: Flip) -> str:
    said: dict[str, object] = {
        "pod": flip.pod,
        "uid": flip.uid,
        "to": flip.to,
        "giving": flip.giving,
        "receiving": flip.receiving,
        "began": timestamp(flip.began),
    }
    if flip.ended is not None:
        said["ended"] = timestamp(flip.ended)
    return json.dumps(said)


def _time(text: str) -> Seconds:
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError(f"a time must name its zone, got {text}")
    return found.timestamp()

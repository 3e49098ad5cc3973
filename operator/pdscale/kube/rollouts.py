"""How far a Deployment has come with its template, as its controller says.

Which template it has is told by a digest beside it: what the API server stores is full of defaults, so that
it cannot be compared with what was rendered.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pdscale.api.v1alpha1 import GROUP
from pdscale.kube.pools import replicas

TEMPLATE: Final = f"{GROUP}/template"
STUCK: Final = "ProgressDeadlineExceeded"


@dataclass(frozen=True, slots=True)
class Progress:
    """``moving``: pods of an earlier template are there. ``unseen``: the controller has not seen the last
    edit, which may be one of the scale.

    ``lacking`` replicas are not available. ``stuck`` is what the controller says when it has waited too long.
    """

    moving: bool
    unseen: bool
    lacking: int
    stuck: str | None = None

    @property
    def complete(self) -> bool:
        return not self.moving and not self.unseen and self.lacking <= 0


def digest(template: Mapping[str, Any]) -> str:
    """A name for a rendered pod template."""
    return hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()[:16]


def template_of(deployment: Mapping[str, Any]) -> str | None:
    """The digest of what it was last given; None where an earlier version has not noted one."""
    return (deployment["metadata"].get("annotations") or {}).get(TEMPLATE)


def progress(deployment: Mapping[str, Any]) -> Progress:
    """What ``kubectl rollout status`` waits for, as a value."""
    status, wanted = deployment.get("status") or {}, replicas(deployment)
    updated = status.get("updatedReplicas", 0)
    return Progress(
        moving=status.get("replicas", 0) > updated,
        unseen=status.get("observedGeneration", 0) < deployment["metadata"].get("generation", 0),
        lacking=wanted - min(updated, status.get("availableReplicas", 0)),
        stuck=next(
            (c.get("message") or STUCK for c in _conditions(status) if c.get("reason") == STUCK), None
        ),
    )


def _conditions(status: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return list(status.get("conditions") or ())

"""Of a pod, what somebody here reads: a tenth of what the API server tells.

Hundreds of objects may be looked at side by side, each with its pods in hand while a server makes it wait.
What nobody reads (claims on fields, volumes, environments, states of containers) goes as soon as a list has
been read, so that it is there for one list at a time.
"""

from collections.abc import Mapping
from typing import Any

from pdscale.kube.client import Object
from pdscale.kube.pools import PLACING

_STATUS = ("phase", "podIP")


def lean(pod: Object) -> Object:
    """Its metadata but for the managed fields, its gates and resources, its phase and address, and the
    conditions that tell its place (``pools``).
    """
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    return {
        "metadata": {key: value for key, value in pod["metadata"].items() if key != "managedFields"},
        "spec": {
            "schedulingGates": spec.get("schedulingGates") or [],
            "containers": [_resources(c) for c in spec.get("containers") or ()],
        },
        "status": {
            **{key: status[key] for key in _STATUS if key in status},
            "conditions": [c for c in status.get("conditions") or () if c.get("type") in PLACING],
        },
    }


def _resources(container: Mapping[str, Any]) -> Object:
    return {"resources": container.get("resources") or {}}

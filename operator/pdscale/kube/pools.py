"""A Deployment and its pods, as the API server shows them, become the state of a pool.

Pods are counted by label and not by owner: a pod that changed its role by its label counts where it
works. A pod that has ended holds no GPU and counts nowhere.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from pdscale.model.pools import PoolState, Role

DEPLOYMENT_LABEL: Final = "pdscale.io/deployment"
ROLE_LABEL: Final = "pdscale.io/role"
_ENDED: Final = ("Succeeded", "Failed")


def pool_state(deployment: Mapping[str, Any] | None, pods: Iterable[Mapping[str, Any]]) -> PoolState:
    """Count the pool's own pods. A Deployment that is not there wants none."""
    counts = {"ready": 0, "starting": 0, "unschedulable": 0, "terminating": 0}
    for pod in pods:
        place = _place(pod)
        if place is not None:
            counts[place] += 1
    return PoolState(desired=replicas(deployment), **counts)


def of_role(pods: Iterable[Mapping[str, Any]], role: Role) -> list[Mapping[str, Any]]:
    return [p for p in pods if _labels(p).get(ROLE_LABEL) == role]


def replicas(deployment: Mapping[str, Any] | None) -> int:
    if deployment is None:
        return 0
    return int(deployment.get("spec", {}).get("replicas", 1))  # absent means one, by the API's default


def _place(pod: Mapping[str, Any]) -> str | None:
    status = pod.get("status") or {}
    if status.get("phase") in _ENDED:
        return None
    if pod["metadata"].get("deletionTimestamp"):
        return "terminating"
    if _condition(status, "Ready").get("status") == "True":
        return "ready"
    scheduled = _condition(status, "PodScheduled")
    if scheduled.get("status") == "False" and scheduled.get("reason") == "Unschedulable":
        return "unschedulable"
    return "starting"  # on a node, or on its way to one


def _condition(status: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    found = (c for c in status.get("conditions") or () if c.get("type") == kind)
    return next(found, {})


def _labels(item: Mapping[str, Any]) -> Mapping[str, str]:
    return item["metadata"].get("labels") or {}

"""A Deployment and its pods, as the API server shows them, become the state of a pool.

Pods are counted by label and not by owner: a pod that changed its role by its label counts where it works. A
pod that has ended holds no GPU and counts nowhere, nor does one that a gate keeps from being scheduled: the
replicas of its Deployment stand for it.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from pdscale.model.pools import PoolState, Role
from pdscale.model.units import Seconds

DEPLOYMENT_LABEL: Final = "pdscale.io/deployment"
ROLE_LABEL: Final = "pdscale.io/role"
PLACING: Final = ("Ready", "PodScheduled")  # conditions of a pod that tell where it counts
_ENDED: Final = ("Succeeded", "Failed")


def pool_state(deployment: Mapping[str, Any] | None, pods: Iterable[Mapping[str, Any]]) -> PoolState:
    """Count the pool's own pods. A Deployment that is not there wants none."""
    return state_of(replicas(deployment), pods)


def state_of(desired: int, pods: Iterable[Mapping[str, Any]]) -> PoolState:
    """Count pods of a pool whose scale says ``desired``."""
    counts = {"ready": 0, "starting": 0, "unschedulable": 0, "terminating": 0}
    for pod in pods:
        place = _place(pod)
        if place in counts:
            counts[place] += 1
    return PoolState(desired=desired, **counts)


def of_role(pods: Iterable[Mapping[str, Any]], role: Role) -> list[Mapping[str, Any]]:
    return [p for p in pods if _labels(p).get(ROLE_LABEL) == role]


def has_ended(pod: Mapping[str, Any]) -> bool:
    """Nothing of it holds a GPU any more."""
    return (pod.get("status") or {}).get("phase") in _ENDED


def is_leaving(pod: Mapping[str, Any]) -> bool:
    """Deleted, or at its end."""
    return bool(pod["metadata"].get("deletionTimestamp")) or has_ended(pod)


def overdue(pods: Iterable[Mapping[str, Any]], now: Seconds) -> int:
    """Pods that hold GPUs past their grace period: a ``deletionTimestamp`` is when that ends, seconds of the
    epoch here. A kubelet that lives has killed them by then.
    """
    leaving = (p for p in pods if p["metadata"].get("deletionTimestamp") and not has_ended(p))
    return sum(now > _grace_ends(pod) for pod in leaving)


def _grace_ends(pod: Mapping[str, Any]) -> Seconds:
    return datetime.fromisoformat(pod["metadata"]["deletionTimestamp"]).timestamp()


def is_ready(pod: Mapping[str, Any]) -> bool:
    return _place(pod) == "ready"


def replicas(deployment: Mapping[str, Any] | None) -> int:
    if deployment is None:
        return 0
    return int(deployment.get("spec", {}).get("replicas", 1))  # absent means one, by the API's default


def _place(pod: Mapping[str, Any]) -> str | None:
    status = pod.get("status") or {}
    if has_ended(pod):
        return None
    if pod["metadata"].get("deletionTimestamp"):
        return "terminating"
    told = {c.get("type"): c for c in status.get("conditions") or ()}
    if "Ready" in told and told["Ready"].get("status") == "True":
        return "ready"
    scheduled = told.get("PodScheduled", {})
    if scheduled.get("status") == "False" and scheduled.get("reason") == "SchedulingGated":
        return "gated"
    if scheduled.get("status") == "False" and scheduled.get("reason") == "Unschedulable":
        return "unschedulable"
    return "starting"  # on a node, or on its way to one


def _labels(item: Mapping[str, Any]) -> Mapping[str, str]:
    return item["metadata"].get("labels") or {}

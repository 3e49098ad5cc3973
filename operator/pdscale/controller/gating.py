"""Lifts the gates of pods that are to stay, as far as the budget goes.

A pod without a gate counts until it has ended, and one whose gate is lifted counts from that moment: so pods
that hold GPUs are never more than the budget allows, whatever ReplicaSets make. A gated pod that its pool
does not want will be deleted by its ReplicaSet and keeps its gate.
"""

from collections.abc import Mapping
from typing import Any, Final

from pdscale.controller.observe import Workloads
from pdscale.kube import gates
from pdscale.kube.client import Kube
from pdscale.kube.manifests import child_name
from pdscale.kube.pools import ROLE_LABEL, has_ended, is_leaving, of_role, replicas
from pdscale.model.pools import Role
from pdscale.model.units import Seconds
from pdscale.scaling.policy import Policy

LOOK_AGAIN: Final[Seconds] = 1.0  # while a pod waits for its gate, the next look comes soon


async def lift(kube: Kube, workloads: Workloads, name: str, policy: Policy) -> int:
    """Lift what may be lifted; how many gated pods are left."""
    chosen = admitted(workloads, name, policy)
    for pod in chosen:
        await gates.lift(kube, pod)
    return sum(gates.is_gated(p) and not is_leaving(p) for p in workloads.pods) - len(chosen)


def admitted(workloads: Workloads, name: str, policy: Policy) -> list[Mapping[str, Any]]:
    """Pods to lift the gate of, the eldest of either pool first.

    8 GPUs, 3 prefill and 4 decode pods hold one each, two more are gated: the first of them is lifted.
    """
    free = policy.gpu_budget
    missing: dict[Role, int] = {}
    waiting: list[Mapping[str, Any]] = []
    for role in Role:
        pods = [p for p in of_role(workloads.pods, role) if not has_ended(p)]
        holding = [p for p in pods if not gates.is_gated(p)]
        free -= policy.gpus.of(role) * len(holding)
        staying = sum(not is_leaving(p) for p in holding)
        missing[role] = replicas(workloads.deployments.get(child_name(name, role))) - staying
        waiting += [p for p in pods if gates.is_gated(p) and not is_leaving(p)]
    chosen: list[Mapping[str, Any]] = []
    for pod in sorted(waiting, key=_age):
        role = Role(pod["metadata"]["labels"][ROLE_LABEL])
        if missing[role] > 0 and policy.gpus.of(role) <= free:
            chosen.append(pod)
            missing[role] -= 1
            free -= policy.gpus.of(role)
    return chosen


def _age(pod: Mapping[str, Any]) -> tuple[str, str]:
    return pod["metadata"].get("creationTimestamp") or "", pod["metadata"]["name"]

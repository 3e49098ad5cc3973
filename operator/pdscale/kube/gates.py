"""The scheduling gate that makes the GPU budget hold while a pod is between two pools.

Both ReplicaSets miss a pod for a moment then, and each makes one that is deleted again at once. A pod with a
gate is never scheduled, so it never holds a GPU; the operator lifts the gate of those that are to stay. The
price: while no operator runs, a lost pod is not replaced.
"""

from collections.abc import Mapping
from typing import Any, Final

from pdscale.api.v1alpha1 import GROUP
from pdscale.kube.client import Kube, path_of
from pdscale.kube.errors import Conflict, NotFound

GATE: Final = f"{GROUP}/budget"


def is_gated(pod: Mapping[str, Any]) -> bool:
    """Whether our gate keeps the pod from being scheduled."""
    return any(gate["name"] == GATE for gate in _gates(pod))


async def lift(kube: Kube, pod: Mapping[str, Any]) -> None:
    """Let the scheduler have the pod, as far as we are concerned. A pod that has gone needs no more."""
    meta = pod["metadata"]
    others = [gate for gate in _gates(pod) if gate["name"] != GATE]
    patch = {"metadata": {"uid": meta["uid"]}, "spec": {"schedulingGates": others}}
    try:
        await kube.merge(path_of("v1", "Pod", meta["namespace"], meta["name"]), patch)
    except (NotFound, Conflict):
        pass


def _gates(pod: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return list((pod.get("spec") or {}).get("schedulingGates") or ())

"""From what containers do to what a pod's status says. Pure, and shared by both kinds of nodes.

A native sidecar is an init container with ``restartPolicy: Always``: it starts in its turn, keeps
running, and counts for readiness like a main container.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from pdscale_e2e.nodes.client import Json

_TERMINAL: Final = ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True)
class ContainerView:
    """One container at one instant; ``state`` and ``last`` as in the API."""

    name: str
    image: str
    state: Json
    last: Json
    ready: bool
    started: bool
    restarts: int

    def as_json(self) -> Json:
        return {
            "name": self.name,
            "image": self.image,
            "imageID": self.image,
            "containerID": "",
            "state": self.state,
            "lastState": self.last,
            "ready": self.ready,
            "started": self.started,
            "restartCount": self.restarts,
        }

    @property
    def succeeded(self) -> bool:
        return bool(self.state.get("terminated", {}).get("exitCode", 1) == 0)


def is_sidecar(container: Json) -> bool:
    return container.get("restartPolicy") == "Always"


def is_over(pod: Json) -> bool:
    return pod.get("status", {}).get("phase") in _TERMINAL


def is_ready(pod: Json) -> bool:
    conditions = pod.get("status", {}).get("conditions") or ()
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def pod_status(
    pod: Json,
    *,
    phase: str,
    initialized: bool,
    init: Sequence[ContainerView],
    main: Sequence[ContainerView],
    address: str | None,
    host: str | None,
    now: str,
) -> Json:
    """The whole status; conditions of others (``readinessGates``) are read, never written."""
    sidecars = {c["name"] for c in pod["spec"].get("initContainers") or () if is_sidecar(c)}
    # An init container that is done is "ready", which readers of pods rely on.
    init = [v if v.name in sidecars else replace(v, ready=v.succeeded) for v in init]
    waited_for = [*main, *(view for view in init if view.name in sidecars)]
    late = [view.name for view in waited_for if not view.ready]
    over = phase in _TERMINAL
    containers_ready = initialized and not late and not over
    ready = containers_ready and _gates_open(pod)
    why = "PodCompleted" if over else "ContainersNotReady"
    note = f"containers with unready status: [{' '.join(late)}]" if late and not over else ""
    verdicts = (
        ("PodScheduled", True, "", ""),
        ("PodReadyToStartContainers", address is not None and not over, "", ""),
        ("Initialized", initialized, "ContainersNotInitialized", ""),
        ("ContainersReady", containers_ready, why, note),
        ("Ready", ready, why if not containers_ready else "ReadinessGatesNotReady", note),
    )
    status: Json = {
        "phase": phase,
        "conditions": [_condition(pod, *verdict, now=now) for verdict in verdicts],
        "containerStatuses": [view.as_json() for view in main],
        "qosClass": pod.get("status", {}).get("qosClass", "BestEffort"),
        "startTime": pod.get("status", {}).get("startTime") or now,
    }
    if init:
        status["initContainerStatuses"] = [view.as_json() for view in init]
    if address:
        status |= {"podIP": address, "podIPs": [{"ip": address}]}
    if host:
        status |= {"hostIP": host, "hostIPs": [{"ip": host}]}
    return status


def _gates_open(pod: Json) -> bool:
    conditions = {c["type"]: c["status"] for c in pod.get("status", {}).get("conditions") or ()}
    gates = pod["spec"].get("readinessGates") or ()
    return all(conditions.get(gate["conditionType"]) == "True" for gate in gates)


def _condition(pod: Json, kind: str, good: bool, why: str, note: str, *, now: str) -> Json:
    status = "True" if good else "False"
    before = next((c for c in pod.get("status", {}).get("conditions") or () if c["type"] == kind), None)
    since = now
    if before is not None and before["status"] == status:
        since = before.get("lastTransitionTime") or now
    return {
        "type": kind,
        "status": status,
        # A strategic merge keeps what it is not told to forget.
        "reason": None if good else why or None,
        "message": None if good else note or None,
        "lastTransitionTime": since,
        "observedGeneration": pod["metadata"].get("generation"),
    }

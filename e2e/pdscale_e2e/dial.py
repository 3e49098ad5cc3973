"""The load dial as tests use it: start one for a ServingDeployment, and turn it."""

from typing import Any

import httpx
from kubernetes import client

from pdscale_e2e.waiting import eventually


def manifest(deployment: str, *, image: str) -> dict[str, Any]:
    """The dial's pod for one ServingDeployment."""
    address = {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
    command = ["python", "-m", "pdscale_e2e.dial_server", "--host", "$(POD_IP)", "--port", "9090"]
    container = {
        "name": "dial",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": command,
        "env": [address],
        "ports": [{"name": "admin", "containerPort": 9090}],
        "readinessProbe": {"httpGet": {"path": "/metrics", "port": 9090}, "periodSeconds": 1},
    }
    labels = {"app.kubernetes.io/managed-by": "pdscale", "pdscale.io/dial": deployment}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"{deployment}-router-0dial-00000", "labels": labels},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 1},
    }


def start(api: client.ApiClient, namespace: str, deployment: str, *, image: str) -> str:
    """Create the dial of a ServingDeployment and wait until it is ready; its address."""
    core: Any = client.CoreV1Api(api)
    name = core.create_namespaced_pod(namespace, manifest(deployment, image=image)).metadata.name

    def ready_address() -> str:
        status = core.read_namespaced_pod(name, namespace).status
        ready = any(c.type == "Ready" and c.status == "True" for c in status.conditions or ())
        return str(status.pod_ip) if ready else ""

    return eventually(ready_address, within=60, what=f"the load dial of {deployment} is ready")


def turn(address: str, rate: float) -> None:
    """Set the load of a running dial, in requests per second."""
    httpx.put(f"http://{address}:9090/load", params={"rate": rate}, timeout=5).raise_for_status()

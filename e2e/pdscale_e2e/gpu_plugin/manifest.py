"""The device plugin as objects of a cluster, and what makes a worker look like a node with GPUs.

The plugin's pod runs as root because the kubelet's folder belongs to root; it needs no capability
beyond that, and no account in the cluster.
"""

from collections.abc import Mapping
from typing import Any, Final

from pdscale_e2e.gpu_plugin.control import PORT
from pdscale_e2e.gpu_plugin.registration import FOLDER
from pdscale_e2e.nodes.node import labels_of
from pdscale_e2e.nodes.spec import GPU_TAINT, gpu_node

NAMESPACE: Final = "gpu-plugin"
_LABELS: Final = {"app.kubernetes.io/name": "gpu-plugin"}


def daemonset(image: str, *, gpus: int, selector: Mapping[str, str]) -> list[dict[str, Any]]:
    """Namespace and DaemonSet: one plugin with ``gpus`` GPUs on each node with the selector's labels.

    A pod of it is ready when its kubelet knows the plugin.
    """
    pod = {
        "nodeSelector": dict(selector),
        "tolerations": [{"key": GPU_TAINT["key"], "operator": "Exists"}],
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 5,
        "containers": [_container(image, gpus)],
        "volumes": [{"name": "sockets", "hostPath": {"path": FOLDER, "type": "Directory"}}],
    }
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        {
            "apiVersion": "apps/v1",
            "kind": "DaemonSet",
            "metadata": {"name": "gpu-plugin", "namespace": NAMESPACE, "labels": _LABELS},
            "spec": {
                "selector": {"matchLabels": _LABELS},
                "template": {"metadata": {"labels": _LABELS}, "spec": pod},
            },
        },
    ]


def _container(image: str, gpus: int) -> dict[str, Any]:
    words = f"python -m pdscale_e2e.gpu_plugin --gpus {gpus} --node $(NODE_NAME) --host $(POD_IP)"
    return {
        "name": "gpu-plugin",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": words.split(),
        "env": [_from_pod("NODE_NAME", "spec.nodeName"), _from_pod("POD_IP", "status.podIP")],
        "ports": [{"name": "control", "containerPort": PORT}],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": PORT}, "periodSeconds": 1},
        "securityContext": {
            "runAsUser": 0,
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumeMounts": [{"name": "sockets", "mountPath": FOLDER}],
    }


def _from_pod(name: str, path: str) -> dict[str, Any]:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def labels(*, gpus: int) -> dict[str, str]:
    """The labels that feature discovery would attach to a node for its GPUs."""
    found = labels_of(gpu_node("any", gpus=gpus))
    return {key: value for key, value in found.items() if key.startswith("nvidia.com/")}


def label_and_taint(core_api: Any, node: str, *, gpus: int = 8) -> None:
    """Give a worker the labels and the taint of a node with GPUs; safe to repeat."""
    # The list of taints is replaced as a whole, so those of others are sent along.
    others = [taint for taint in core_api.read_node(node).spec.taints or () if taint.key != GPU_TAINT["key"]]
    taints = [*others, dict(GPU_TAINT)]
    core_api.patch_node(node, {"metadata": {"labels": labels(gpus=gpus)}, "spec": {"taints": taints}})

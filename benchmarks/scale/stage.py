"""What the operator is measured on: a real control plane, nodes that only answer, and many deployments.

Nodes send a heartbeat every two minutes instead of every ten seconds: a thousand of them would otherwise
keep both cores busy with what is not measured here. Everything else is as a cluster has it, and the operator
is one process under the rights that the chart grants.
"""

import json
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from kubernetes import client

from pdscale_e2e.cluster.local import LocalCluster, LocalOptions
from pdscale_e2e.component import Component
from pdscale_e2e.install import NAMESPACE, RELEASE, api_client, apply, crds, rendered
from pdscale_e2e.nodes.spec import NodeSpec, gpu_nodes
from pdscale_e2e.objects import GROUP, PLURAL, Objects, serving
from pdscale_e2e.operator_beside import kubeconfig_of_operator, metrics_of, operator_process
from pdscale_e2e.waiting import eventually

PREFILL, DECODE, ROUTERS = 4, 5, 1  # replicas of each deployment: ten pods
RATE: Final = 9.0  # requests per second of each: 2.3 prefill and 3.2 decode replicas
PER_NAMESPACE: Final = 50
GPUS: Final = 8
PODS_PER_NODE: Final = 29
HEARTBEAT: Final = 120.0
ACCOUNT: Final = f"system:serviceaccount:{NAMESPACE}:{RELEASE}"
ADMIN: Final = ("127.0.0.1", 9091)
METRICS: Final = ("127.0.0.1", 9090)


@dataclass(frozen=True, slots=True)
class Size:
    """How many ServingDeployments, and nodes for their pods."""

    objects: int
    nodes: int

    def __post_init__(self) -> None:
        needed = self.cpu_nodes + math.ceil(self.objects * (PREFILL + DECODE) / GPUS)
        if self.nodes < needed:
            raise ValueError(f"nodes must be at least {needed} for {self.objects} objects, got {self.nodes}")

    @property
    def cpu_nodes(self) -> int:
        return math.ceil(1.2 * self.objects * ROUTERS / PODS_PER_NODE)

    @property
    def pods(self) -> int:
        return self.objects * (PREFILL + DECODE + ROUTERS)

    def specs(self) -> list[NodeSpec]:
        few = {"pods": PODS_PER_NODE, "heartbeat": HEARTBEAT}
        cpu = [NodeSpec(f"cpu-{n}", **few) for n in range(self.cpu_nodes)]
        return [
            *cpu,
            *gpu_nodes(self.nodes - self.cpu_nodes, gpus=GPUS, pods=PODS_PER_NODE, heartbeat=HEARTBEAT),
        ]


@dataclass(frozen=True, slots=True)
class Stage:
    """A cluster with nodes, and an operator that can be started."""

    cluster: LocalCluster
    api: client.ApiClient
    operator: Component

    def create(self, count: int) -> None:
        core: Any = client.CoreV1Api(self.api)
        for number in range(count):
            namespace = f"scale-{number // PER_NAMESPACE}"
            if number % PER_NAMESPACE == 0:
                core.create_namespace({"metadata": {"name": namespace}})
            url = f"http://{METRICS[0]}:{METRICS[1]}"
            Objects(self.api, namespace, url).create(deployment(f"chat-{number}"))

    def ready(self) -> int:
        """Deployments whose condition ``Ready`` holds."""
        custom: Any = client.CustomObjectsApi(self.api)
        found = custom.list_cluster_custom_object(*GROUP, PLURAL)["items"]
        conditions = (c for each in found for c in each.get("status", {}).get("conditions", ()))
        return sum(c["type"] == "Ready" and c["status"] == "True" for c in conditions)

    def writes(self) -> list[str]:
        """The operator's writes so far, as the API server has audited them: verb and resource."""
        if not self.cluster.audit_log.exists():
            return []
        return [_request(json.loads(line)) for line in self.cluster.audit_log.read_text().splitlines()]

    def told(self) -> dict[str, float]:
        return metrics_of(ADMIN)


def deployment(name: str) -> dict[str, Any]:
    """Ten pods and the intervals that a spec has by default."""
    return serving(
        name,
        engine={"type": "vLLM", "image": "vllm/vllm-openai:v0.33.0"},
        prefill={"minReplicas": PREFILL, "maxReplicas": 2 * PREFILL},
        decode={"minReplicas": DECODE, "maxReplicas": 2 * DECODE},
        forecast={"history": "30m", "step": "15s"},
        scaling={"interval": "15s", "scaleDownWindow": "5m"},
    )


@contextmanager
def stage(size: Size) -> Iterator[Stage]:
    cluster = LocalCluster(LocalOptions(node_silence=600, node_prefix=27, audited=ACCOUNT)).start()
    host, port = METRICS
    command = (
        "-m",
        "benchmarks.scale.metrics_server",
        "--host",
        host,
        "--port",
        str(port),
        "--rate",
        str(RATE),
    )
    metrics = Component("metrics", (sys.executable, *command), cluster.logs / "metrics.log")
    api = api_client(cluster.kubeconfig)
    try:
        metrics.start()
        _rights(api)
        cluster.add_nodes(size.specs())
        access = kubeconfig_of_operator(api, cluster.kubeconfig, cluster.folder / "operator.kubeconfig")
        operator = operator_process(access, cluster.logs / "operator.log", admin=ADMIN)
        yield Stage(cluster, api, operator)
        operator.stop()
    finally:
        metrics.stop()
        api.close()  # type: ignore[no-untyped-call]
        cluster.stop()


def _rights(api: client.ApiClient) -> None:
    """The chart without the operator's pods."""
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    apply(api, [namespace, *crds()], namespace=NAMESPACE)
    custom: Any = client.CustomObjectsApi(api)
    eventually(
        lambda: "items" in custom.list_cluster_custom_object(*GROUP, PLURAL),
        within=30,
        what="the CRD is served",
    )
    apply(api, [m for m in rendered() if m["kind"] != "Deployment"], namespace=NAMESPACE)


def _request(line: dict[str, Any]) -> str:
    what = line["objectRef"]
    resource = "/".join(part for part in (what["resource"], what.get("subresource")) if part)
    return f"{line['verb']} {resource} {line['responseStatus']['code']}"

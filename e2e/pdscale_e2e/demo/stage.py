"""Everything the demo stands on: cluster, GPU nodes, Prometheus, the chart, and what the example asks for."""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubernetes import client

from pdscale_e2e.cluster import Capability, Cluster, open_cluster
from pdscale_e2e.install import Manifest, api_client, apply, examples, install
from pdscale_e2e.nodes.spec import Mode, NodeSpec, gpu_nodes
from pdscale_e2e.prometheus import Prometheus
from pdscale_e2e.waiting import eventually

NAMESPACE = "default"
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Stage:
    """What the acts need to know of it."""

    cluster: Cluster
    api: client.ApiClient
    prometheus: str
    objects: Sequence[Manifest]

    def url(self, name: str) -> str:
        """Where clients reach a ServingDeployment: its Service, else its router's pod."""
        core: Any = client.CoreV1Api(self.api)
        if Capability.SERVICES in self.cluster.capabilities:
            return f"http://{core.read_namespaced_service(name, NAMESPACE).spec.cluster_ip}"
        selector = f"pdscale.io/deployment={name},pdscale.io/role=router"
        pod = core.list_namespaced_pod(NAMESPACE, label_selector=selector).items[0]
        return f"http://{pod.status.pod_ip}:8080"


@contextlib.contextmanager
def staged(say: Say, *, example: str, gpus: int) -> Iterator[Stage]:
    """Set the stage and clear it again; the process namespace takes care of what an interrupt leaves."""
    objects = list(examples(example))
    with contextlib.ExitStack() as last:
        say("starting etcd, API server, controller manager, scheduler and kube-proxy")
        cluster = open_cluster()
        last.callback(cluster.stop)
        nodes = -(-gpus // 8)
        say(f"adding {nodes} nodes with 8 GPUs each that run pods as local processes")
        cpu = NodeSpec("cpu-0", mode=Mode.PROCESS)
        cluster.add_nodes([cpu, *gpu_nodes(nodes, gpus=8, mode=Mode.PROCESS)])
        say("starting Prometheus, which finds the pods by Kubernetes service discovery")
        prometheus = Prometheus(cluster.kubeconfig, scrape_interval=1.0).start()
        last.callback(prometheus.close)
        say("installing CRD and chart; the operator runs as a pod under the chart's rights")
        install(cluster.kubeconfig, {"prometheus": {"scrapeInterval": "1s"}})
        api = api_client(cluster.kubeconfig)
        last.callback(api.close)
        say(f"applying examples/{example}")
        apply(api, objects, namespace=NAMESPACE, manager="demo")
        stage = Stage(cluster, api, prometheus.url, objects)
        for manifest in objects:
            _wait_ready(stage, manifest["metadata"]["name"])
        yield stage


def _wait_ready(stage: Stage, name: str) -> None:
    custom: Any = client.CustomObjectsApi(stage.api)

    def ready() -> bool:
        found = custom.get_namespaced_custom_object(
            "pdscale.io", "v1alpha1", NAMESPACE, "servingdeployments", name
        )
        conditions = {c["type"]: c["status"] for c in found.get("status", {}).get("conditions", ())}
        return conditions.get("Ready") == "True"

    eventually(ready, within=90, what=f"ServingDeployment {name} is Ready")


def trace_path() -> Path | None:
    """The trace to play: the one named by ``PDSCALE_TRACE``, else one that lies beside the checkout."""
    named = os.environ.get("PDSCALE_TRACE")
    if named:
        return Path(named)
    beside = Path(__file__).parents[4] / "shared" / "traces" / "azure2023_conv.csv.gz"
    return beside if beside.exists() else None

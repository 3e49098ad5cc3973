"""The product on the cluster: Prometheus, the chart with the operator as a pod, GPU nodes, load dials."""

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kubernetes import client

from pdscale_e2e.cluster import Capability, Cluster
from pdscale_e2e.dial import start, turn
from pdscale_e2e.install import api_client, helm_install, install
from pdscale_e2e.monitoring import PrometheusPod
from pdscale_e2e.nodes.spec import Mode, NodeSpec, gpu_nodes
from pdscale_e2e.objects import Objects
from pdscale_e2e.prometheus import Prometheus
from pdscale_e2e.waiting import eventually


@pytest.fixture(scope="session")
def prometheus(cluster: Cluster) -> Iterator[Prometheus | PrometheusPod]:
    server: Prometheus | PrometheusPod
    if Capability.CONTAINERS in cluster.capabilities:
        server = PrometheusPod(cluster).start()
    else:
        server = Prometheus(cluster.kubeconfig, logs=cluster.logs).start()
    yield server
    server.close()


@pytest.fixture(scope="session")
def product(cluster: Cluster, prometheus: Prometheus) -> Iterator[client.ApiClient]:
    """The operator runs; GPU pods find ``status`` nodes (16 GPUs) and ``process`` nodes (at least 8 GPUs)."""
    values = {
        "prometheus": {"scrapeInterval": "1s"},
        "image": _split(cluster.image("operator")),
        "router": {"image": _split(cluster.image("router"))},
        # Images keep their tag when they are built anew: a new pod takes the new one on a kept cluster, too.
        "podAnnotations": {"pdscale.io/tested-by": str(os.getpid())},
    }
    fakes = gpu_nodes(2, gpus=8, prefix="status", labels={"pdscale.io/nodes": "status"}, start_delay=0.5)
    if Capability.CONTAINERS in cluster.capabilities:
        added = cluster.add_nodes(fakes)
        helm_install(cluster.kubeconfig, values)
    else:
        label = {"pdscale.io/nodes": "process"}
        real = gpu_nodes(1, gpus=8, prefix="process", labels=label, mode=Mode.PROCESS)
        added = cluster.add_nodes([NodeSpec("product-cpu", mode=Mode.PROCESS), *fakes, *real])
        install(cluster.kubeconfig, values)
    api = api_client(cluster.kubeconfig)
    yield api
    api.close()
    added.stop()


def _split(image: str) -> dict[str, str]:
    repository, _, tag = image.rpartition(":")
    return {"repository": repository, "tag": tag}


@pytest.fixture
def objects(product: client.ApiClient, prometheus: Prometheus, namespace: str) -> Objects:
    """The test's own objects, on nodes that earlier tests have left: namespaces go in the background."""
    core: Any = client.CoreV1Api(product)
    eventually(
        lambda: not core.list_pod_for_all_namespaces(label_selector="pdscale.io/deployment").items,
        within=90,
        what="the pods of earlier tests are gone",
    )
    return Objects(product, namespace, prometheus.url)


@pytest.fixture
def dial(product: client.ApiClient, cluster: Cluster, namespace: str) -> Callable[[str, float], None]:
    """``dial(name, rate)``: the traffic that a ServingDeployment seems to get, in rounds per second."""
    addresses: dict[str, str] = {}

    def set_load(name: str, rate: float) -> None:
        if name not in addresses:
            addresses[name] = start(product, namespace, name, image=cluster.image("e2e"))
        turn(addresses[name], rate)

    return set_load

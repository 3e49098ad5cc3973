"""The product on the cluster: Prometheus, the chart with the operator as a pod, GPU nodes, load dials."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kubernetes import client

from pdscale_e2e.cluster import Cluster
from pdscale_e2e.dial import start, turn
from pdscale_e2e.install import api_client, install
from pdscale_e2e.nodes.spec import Mode, NodeSpec, gpu_nodes
from pdscale_e2e.objects import Objects
from pdscale_e2e.prometheus import Prometheus
from pdscale_e2e.waiting import eventually


@pytest.fixture(scope="session")
def prometheus(cluster: Cluster) -> Iterator[Prometheus]:
    server = Prometheus(cluster.kubeconfig, scrape_interval=1.0, logs=cluster.logs).start()
    yield server
    server.close()


@pytest.fixture(scope="session")
def product(cluster: Cluster, prometheus: Prometheus) -> Iterator[client.ApiClient]:
    """The operator runs; GPU pods find ``status`` nodes (16 GPUs) and ``process`` nodes (8 GPUs)."""
    nodes = [
        cluster.add_nodes(
            [
                NodeSpec("product-cpu", mode=Mode.PROCESS),
                *gpu_nodes(
                    2, gpus=8, prefix="status", labels={"pdscale.io/nodes": "status"}, start_delay=0.5
                ),
                *gpu_nodes(
                    1, gpus=8, prefix="process", labels={"pdscale.io/nodes": "process"}, mode=Mode.PROCESS
                ),
            ]
        )
    ]
    install(cluster.kubeconfig, {"prometheus": {"scrapeInterval": "1s"}})
    api = api_client(cluster.kubeconfig)
    yield api
    api.close()
    for added in nodes:
        added.stop()


@pytest.fixture
def objects(product: client.ApiClient, namespace: str) -> Objects:
    """The test's own objects, on nodes that earlier tests have left: namespaces go in the background."""
    core: Any = client.CoreV1Api(product)
    eventually(
        lambda: not core.list_pod_for_all_namespaces(label_selector="pdscale.io/deployment").items,
        within=90,
        what="the pods of earlier tests are gone",
    )
    return Objects(product, namespace)


@pytest.fixture
def dial(product: client.ApiClient, namespace: str) -> Callable[[str, float], None]:
    """``dial(name, rate)``: the traffic that a ServingDeployment seems to get, in rounds per second."""
    addresses: dict[str, str] = {}

    def set_load(name: str, rate: float) -> None:
        if name not in addresses:
            addresses[name] = start(product, namespace, name)
        turn(addresses[name], rate)

    return set_load

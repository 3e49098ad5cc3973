"""The product on the cluster: Prometheus, the chart with the operator as a pod, GPU nodes, load dials."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kubernetes import client

from pdscale_e2e.cluster import Cluster
from pdscale_e2e.dial import start, turn
from pdscale_e2e.monitoring import PrometheusPod
from pdscale_e2e.objects import Objects
from pdscale_e2e.product import operator_on, prometheus_on
from pdscale_e2e.prometheus import Prometheus
from pdscale_e2e.waiting import eventually


@pytest.fixture(scope="session")
def prometheus(cluster: Cluster) -> Iterator[Prometheus | PrometheusPod]:
    with prometheus_on(cluster) as server:
        yield server


@pytest.fixture(scope="session")
def product(cluster: Cluster, prometheus: Prometheus) -> Iterator[client.ApiClient]:
    """The operator runs; GPU pods find ``status`` nodes (16 GPUs) and ``process`` nodes (at least 8 GPUs)."""
    with operator_on(cluster) as api:
        yield api


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

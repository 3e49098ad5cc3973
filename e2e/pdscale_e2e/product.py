"""The product on a cluster, as tests and benchmarks need it: Prometheus, the operator, nodes with GPUs.

Where pods run from images, all of it comes as a user would bring it: Prometheus as a Deployment, the operator
by Helm, GPUs by the device plugin that the provider has put on its workers. Elsewhere the chart's objects are
applied, and processes stand in for containers. A cluster that has the product already, for several test
processes, only gets each one's own nodes.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any, Final

from kubernetes import client

from pdscale_e2e.cluster import Capability, Cluster, Nodes
from pdscale_e2e.install import api_client, helm_install, install, installed
from pdscale_e2e.lanes import LABEL, lane
from pdscale_e2e.monitoring import PrometheusPod
from pdscale_e2e.nodes.spec import Mode, NodeSpec, gpu_nodes
from pdscale_e2e.objects import STATUS_TAINT
from pdscale_e2e.prometheus import Prometheus

SCALE_TARGETS: Final = (
    {"apiGroup": "apps", "resources": ["deployments", "statefulsets"]},
    {"apiGroup": "gangs.example.com", "resources": ["gangs"]},  # a kind of the tests' own
)
_APART: Final = "10.89.0.1:9190"


@contextmanager
def product_on(cluster: Cluster) -> Iterator[None]:
    """Everything but status nodes, for processes that join the cluster. Made side by side."""
    with ThreadPoolExecutor() as beside, ExitStack() as last:
        prometheus = beside.submit(last.enter_context, prometheus_on(cluster))
        _helm_installed(cluster)
        cluster.settle()
        prometheus.result()
        yield


@contextmanager
def prometheus_on(cluster: Cluster) -> Iterator[Prometheus | PrometheusPod]:
    """A Prometheus that scrapes every second; ``url`` is an address for pods."""
    server: Prometheus | PrometheusPod
    if Capability.PRODUCT in cluster.capabilities:
        there = PrometheusPod(cluster)
        yield there
        there.leave()
        return
    if Capability.CONTAINERS in cluster.capabilities:
        server = PrometheusPod(cluster).apply(cluster.image("prometheus")).start()
    else:
        server = Prometheus(cluster.kubeconfig, logs=cluster.logs).start()
    try:
        yield server
    finally:
        server.close()


@contextmanager
def prometheus_apart(cluster: Cluster, namespace: str) -> Iterator[Prometheus | PrometheusPod]:
    """One that nobody else asks, so that it may be taken away while other tests run."""
    server: Prometheus | PrometheusPod
    if Capability.CONTAINERS in cluster.capabilities:
        server = PrometheusPod(cluster, namespace).apply(cluster.image("prometheus"))
    else:
        server = Prometheus(cluster.kubeconfig, address=_APART)
    try:
        yield server.start()
    finally:
        server.close()


@contextmanager
def operator_on(cluster: Cluster) -> Iterator[client.ApiClient]:
    """The operator runs; GPU pods find ``status`` nodes (16 GPUs) and ``process`` nodes (at least 8 GPUs)."""
    added = _installed(cluster)
    api = api_client(cluster.kubeconfig)
    try:
        yield api
    finally:
        api.close()  # type: ignore[no-untyped-call]
        added.stop()


def values(cluster: Cluster) -> dict[str, Any]:
    """The chart's values for this cluster's images and a Prometheus that scrapes every second."""
    return {
        "prometheus": {"scrapeInterval": "1s"},
        "prometheusServer": {"enabled": False},  # each object names the test's own
        "image": _split(cluster.image("operator")),
        "router": {"image": _split(cluster.image("router"))},
        "rbac": {"scaleTargets": [*SCALE_TARGETS]},
    }


def _installed(cluster: Cluster) -> Nodes:
    labels = {"pdscale.io/nodes": "status", LABEL: lane()}
    # What does not ask for nodes that only pretend gets none: the pods of other lanes, and of a reader.
    fakes = gpu_nodes(
        2, gpus=8, prefix=f"status-{lane()}", labels=labels, taints=[STATUS_TAINT], start_delay=0.5
    )
    if Capability.PRODUCT in cluster.capabilities:
        return cluster.add_nodes(fakes)
    if Capability.CONTAINERS in cluster.capabilities:
        added = cluster.add_nodes(fakes)
        _helm_installed(cluster)
        cluster.settle()
        return added
    label = {"pdscale.io/nodes": "process"}
    real = gpu_nodes(1, gpus=8, prefix="process", labels=label, mode=Mode.PROCESS)
    added = cluster.add_nodes([NodeSpec("product-cpu", mode=Mode.PROCESS), *fakes, *real])
    install(cluster.kubeconfig, values(cluster))
    return added


def _helm_installed(cluster: Cluster) -> None:
    given = values(cluster)
    if installed(cluster.kubeconfig):
        # Images keep their tag when they are built anew: a new pod takes the new one on a kept cluster, too.
        given["podAnnotations"] = {"pdscale.io/tested-by": str(os.getpid())}
    helm_install(cluster.kubeconfig, given)


def _split(image: str) -> dict[str, str]:
    repository, _, tag = image.rpartition(":")
    return {"repository": repository, "tag": tag}

"""The product on a cluster, as tests and benchmarks need it: Prometheus, the operator, nodes with GPUs.

Where pods run from images, all of it comes as a user would bring it: Prometheus as a Deployment, the operator
by Helm, GPUs by the device plugin that the provider has put on its workers. Elsewhere the chart's objects are
applied, and processes stand in for containers.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kubernetes import client

from pdscale_e2e.cluster import Capability, Cluster, Nodes
from pdscale_e2e.install import api_client, helm_install, install
from pdscale_e2e.monitoring import PrometheusPod
from pdscale_e2e.nodes.spec import Mode, NodeSpec, gpu_nodes
from pdscale_e2e.prometheus import Prometheus


@contextmanager
def prometheus_on(cluster: Cluster) -> Iterator[Prometheus | PrometheusPod]:
    """A Prometheus that scrapes every second; ``url`` is an address for pods."""
    server: Prometheus | PrometheusPod
    if Capability.CONTAINERS in cluster.capabilities:
        server = PrometheusPod(cluster).start()
    else:
        server = Prometheus(cluster.kubeconfig, logs=cluster.logs).start()
    try:
        yield server
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
        "image": _split(cluster.image("operator")),
        "router": {"image": _split(cluster.image("router"))},
        # Images keep their tag when they are built anew: a new pod takes the new one on a kept cluster, too.
        "podAnnotations": {"pdscale.io/tested-by": str(os.getpid())},
    }


def _installed(cluster: Cluster) -> Nodes:
    fakes = gpu_nodes(2, gpus=8, prefix="status", labels={"pdscale.io/nodes": "status"}, start_delay=0.5)
    if Capability.CONTAINERS in cluster.capabilities:
        added = cluster.add_nodes(fakes)
        helm_install(cluster.kubeconfig, values(cluster))
        return added
    label = {"pdscale.io/nodes": "process"}
    real = gpu_nodes(1, gpus=8, prefix="process", labels=label, mode=Mode.PROCESS)
    added = cluster.add_nodes([NodeSpec("product-cpu", mode=Mode.PROCESS), *fakes, *real])
    install(cluster.kubeconfig, values(cluster))
    return added


def _split(image: str) -> dict[str, str]:
    repository, _, tag = image.rpartition(":")
    return {"repository": repository, "tag": tag}

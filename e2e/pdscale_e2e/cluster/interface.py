"""What tests, demo and benchmarks may ask of a cluster, whoever provides it.

A test names the capabilities that it needs and is skipped where the provider lacks one. The node
agent needs nothing but the API, so nodes can be added to every provider's cluster.
"""

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from pdscale_e2e.nodes.spec import NodeSpec


class Capability(StrEnum):
    """What a provider's cluster can do beyond being an API server with a scheduler.

    ``RUNNING_PODS``: pods really run, as processes of the node agent or as containers, and the test can
    reach their addresses. ``CONTAINERS``: they run from images, on real kubelets. ``PRODUCT``: Prometheus and
    the operator are there already, and other processes use them, too.
    """

    STATUS_NODES = "status-nodes"
    PROCESS_NODES = "process-nodes"
    SERVICES = "services"
    FAULTS = "faults"
    RUNNING_PODS = "running-pods"
    CONTAINERS = "containers"
    PRODUCT = "product"


class Nodes(Protocol):
    """Nodes that were added together; one node agent serves them."""

    @property
    def names(self) -> Sequence[str]: ...
    @property
    def logs(self) -> Path:
        """Containers' output: ``NAMESPACE_POD/CONTAINER.RESTART.log``."""

    @property
    def pid(self) -> int:
        """The agent's."""

    def kill(self) -> None:
        """End the agent as a crash would: its nodes fall silent."""

    def start(self) -> None:
        """Start the agent again; it takes its pods up where it finds them."""

    def stop(self) -> None:
        """End the agent in order and remove its nodes."""


class Cluster(Protocol):
    """A running cluster. ``kubeconfig`` is its administrator's."""

    @property
    def kubeconfig(self) -> Path: ...
    @property
    def logs(self) -> Path:
        """What the cluster's programs wrote; containers' output is in the folder ``pods``."""

    @property
    def capabilities(self) -> frozenset[Capability]: ...

    def settle(self) -> None:
        """Wait for what the provider has left to go on in the background; the nodes can be used then."""

    def image(self, name: str) -> str:
        """What a pod's ``image`` must be to run one of ours: operator, router, e2e, ..."""

    def add_nodes(self, specs: Sequence[NodeSpec]) -> Nodes:
        """Add nodes and wait until pods can be scheduled to them."""

    def stop_apiserver(self) -> None:
        """End the API server as a crash would. Needs ``FAULTS``."""

    def start_apiserver(self) -> None:
        """Start it again and wait until it is ready. Needs ``FAULTS``."""

    def stop(self) -> None:
        """Give back whatever was started; an existing cluster only loses the nodes added to it."""


class ClusterUnavailable(RuntimeError):
    """No cluster can be had here; the message says what to do."""

"""Clusters for end-to-end tests, demo and benchmarks: one interface, several providers.

``PDSCALE_E2E_CLUSTER`` names the provider; ``local`` needs nothing but Linux and is the default. A
provider is a function of the environment in ``_PROVIDERS``.
"""

import os
from collections.abc import Callable, Mapping
from typing import Final

from pdscale_e2e.cluster import standing
from pdscale_e2e.cluster.existing import ExistingCluster
from pdscale_e2e.cluster.interface import Capability, Cluster, ClusterUnavailable, Nodes
from pdscale_e2e.cluster.local import LocalCluster

__all__ = ["Capability", "Cluster", "ClusterUnavailable", "Nodes", "open_cluster"]


def _kind(environ: Mapping[str, str]) -> Cluster:
    from pdscale_e2e.cluster.kind import KindCluster  # only its tier has images and a device plugin

    there = standing.named(environ)
    return KindCluster(environ).join(there) if there else KindCluster(environ).start()


_PROVIDERS: Final[Mapping[str, Callable[[Mapping[str, str]], Cluster]]] = {
    "existing": ExistingCluster,
    "kind": _kind,
    "local": lambda environ: LocalCluster(environ=environ).start(),
}


def open_cluster(environ: Mapping[str, str] = os.environ) -> Cluster:
    """Raises ``ClusterUnavailable`` with what to do about it."""
    name = environ.get("PDSCALE_E2E_CLUSTER") or "local"
    if name not in _PROVIDERS:
        known = ", ".join(sorted(_PROVIDERS))
        raise ClusterUnavailable(f"PDSCALE_E2E_CLUSTER must be one of {known}, got {name!r}")
    if reason := environ.get(standing.UNAVAILABLE):
        raise ClusterUnavailable(reason)
    return _PROVIDERS[name](environ)

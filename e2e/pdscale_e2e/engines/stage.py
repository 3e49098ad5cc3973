"""A ServingDeployment of real engines: cluster, Prometheus, operator, one prefill and one decode replica."""

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from pdscale_e2e.cluster import Capability, Cluster, ClusterUnavailable, open_cluster
from pdscale_e2e.engines.command import SHORT_LEASES, Vllm, serving, transfer_config
from pdscale_e2e.install import Manifest
from pdscale_e2e.objects import Objects, on_nodes
from pdscale_e2e.product import operator_on, prometheus_on

STARTS_WITHIN: Final = 420.0


@dataclass(frozen=True, slots=True)
class RealDeployment:
    """``url`` is its Service's; ``manifest`` is what was created."""

    cluster: Cluster
    objects: Objects
    url: str
    manifest: Manifest


@contextmanager
def vllm_on_path(vllm: Vllm) -> Iterator[None]:
    """Pods call the engine ``vllm``, as the operator renders it, and nodes find it on the PATH."""
    before = os.environ.get("PATH", os.defpath)
    with TemporaryDirectory(prefix="vllm-") as folder:
        (Path(folder) / "vllm").symlink_to(vllm.command)
        os.environ["PATH"] = f"{folder}{os.pathsep}{before}"
        try:
            yield
        finally:
            os.environ["PATH"] = before


@contextmanager
def real_deployment(vllm: Vllm, name: str, **changes: Mapping[str, Any]) -> Iterator[RealDeployment]:
    """Serves when the block begins; ``changes`` go into the parts of the spec."""
    with ExitStack() as last:
        last.enter_context(vllm_on_path(vllm))
        cluster = open_cluster()
        last.callback(cluster.stop)
        if Capability.PROCESS_NODES not in cluster.capabilities:
            raise ClusterUnavailable("real engines run as processes of nodes, which this cluster has not")
        prometheus = last.enter_context(prometheus_on(cluster))
        objects = Objects(last.enter_context(operator_on(cluster)), "default", prometheus.url)
        manifest = serving(vllm, name=name, transfer=transfer_config(**SHORT_LEASES))
        spec = manifest["spec"]
        spec |= {"prometheus": {"url": prometheus.url}}
        spec |= {part: {**spec.get(part, {}), **change} for part, change in changes.items()}
        for role in ("prefill", "decode"):
            spec[role] = {**spec[role], **on_nodes("process")}
        objects.create(manifest)
        objects.wait(name, kind="Ready", status="True", within=STARTS_WITHIN)
        yield RealDeployment(cluster, objects, objects.answers(name, within=60), manifest)

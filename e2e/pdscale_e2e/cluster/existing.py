"""A cluster that somebody else runs, named by ``PDSCALE_E2E_KUBECONFIG``.

Fake nodes are added beside the real ones, so each must carry a taint: otherwise the cluster's own
pods could be scheduled to a node that runs nothing.
"""

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from pdscale_e2e import kubeconfig as kubeconfigs
from pdscale_e2e.cluster.added import AddedNodes, FakeNodes
from pdscale_e2e.cluster.interface import Capability, ClusterUnavailable
from pdscale_e2e.nodes.spec import Mode, NodeSpec


class ExistingCluster:
    """Whatever the kubeconfig leads to."""

    capabilities = frozenset({Capability.STATUS_NODES, Capability.SERVICES})

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        path = environ.get("PDSCALE_E2E_KUBECONFIG")
        if not path:
            raise ClusterUnavailable(
                "PDSCALE_E2E_CLUSTER is `existing`: set PDSCALE_E2E_KUBECONFIG to a kubeconfig"
            )
        self.kubeconfig = Path(path)
        try:
            self._access = kubeconfigs.read(self.kubeconfig)
            self._access.get("/readyz")
        except (OSError, ValueError) as error:
            raise ClusterUnavailable(f"PDSCALE_E2E_KUBECONFIG={path}: {error}") from error
        self._folder = Path(tempfile.mkdtemp(prefix="pdscale-e2e-"))
        kept = environ.get("PDSCALE_E2E_LOGS")
        self.logs = Path(kept).resolve() if kept else self._folder / "logs"
        self._fakes = FakeNodes(self._access, kubeconfig=self.kubeconfig, folder=self._folder, logs=self.logs)

    def settle(self) -> None:
        """Its nodes are somebody else's, and there."""

    def image(self, name: str) -> str:
        raise ClusterUnavailable(f"no image of {name} was brought to an existing cluster")

    def add_nodes(self, specs: Sequence[NodeSpec]) -> AddedNodes:
        for spec in specs:
            if not spec.all_taints:
                raise ValueError(f"node {spec.name}: needs a taint in a cluster that is not ours")
            if spec.mode is Mode.PROCESS:
                raise ValueError(f"node {spec.name}: process nodes need the local cluster's addresses")
        return self._fakes.add(specs)

    def stop_apiserver(self) -> None:
        raise ClusterUnavailable("an existing cluster's API server is not ours to stop")

    def start_apiserver(self) -> None:
        raise ClusterUnavailable("an existing cluster's API server is not ours to start")

    def stop(self) -> None:
        self._fakes.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

"""A real Prometheus beside the cluster, which finds pods by Kubernetes service discovery.

It scrapes what ``pdscale`` labels as its own (ports named ``engine`` and ``admin``) and attaches the
labels ``namespace``, ``pod`` and ``container``, as every usual set-up does, and ``deployment`` and
``role`` for people. Its storage survives ``stop`` and ``start``: an outage is a gap in the series.
"""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any, Final

from pdscale_e2e.asking import ask
from pdscale_e2e.binaries import program
from pdscale_e2e.component import Component
from pdscale_e2e.waiting import eventually

_POD: Final = "__meta_kubernetes_pod"
_LABEL: Final = f"{_POD}_label"
_POOLS: Final = ("managed_by", "pdscale")
_OPERATOR: Final = ("name", "pdscale-operator")


class Prometheus:
    """One server; ``address`` must be one that pods can reach."""

    def __init__(
        self,
        kubeconfig: Path,
        *,
        scrape_interval: float = 1.0,
        address: str = "10.89.0.1:9090",
        logs: Path | None = None,
    ) -> None:
        self.url = f"http://{address}"
        self._folder = Path(tempfile.mkdtemp(prefix="pdscale-prometheus-"))
        config = self._folder / "prometheus.json"
        found = configuration(scrape_interval=scrape_interval, kubeconfig=kubeconfig.resolve())
        config.write_text(json.dumps(found, indent=1))
        self._server = Component(
            "prometheus",
            (
                program("prometheus"),
                f"--config.file={config}",
                f"--storage.tsdb.path={self._folder / 'series'}",
                f"--web.listen-address={address}",
                "--storage.tsdb.retention.time=1d",
                # New pods are scraped at once, not after up to five seconds; the image says the same.
                "--scrape.discovery-reload-interval=1s",
                "--log.level=warn",
            ),
            (logs or self._folder) / "prometheus.log",
        )

    @property
    def reachable(self) -> str:
        """An address for the tests' own processes."""
        return self.url

    def start(self) -> "Prometheus":
        """Start, or start again with the series that were stored before; ready on return."""
        self._server.start()
        eventually(self._ready, within=30, what="Prometheus to be ready", every=0.05)
        return self

    def stop(self) -> None:
        """An outage, or the end; the stored series stay until ``close``."""
        self._server.stop()

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _ready(self) -> bool:
        self._server.check_alive()
        return bool(ask("GET", f"{self.url}/-/ready"))


def configuration(*, scrape_interval: float, kubeconfig: Path | None = None) -> dict[str, Any]:
    """A whole configuration file; without a kubeconfig for a server that runs in the cluster."""
    discovery = {"role": "pod"} | ({"kubeconfig_file": str(kubeconfig)} if kubeconfig else {})
    interval = f"{scrape_interval * 1000:.0f}ms"
    timeout = f"{min(scrape_interval, 5.0) * 1000:.0f}ms"
    return {
        "global": {"scrape_interval": interval, "scrape_timeout": timeout},
        "scrape_configs": [
            {"job_name": job, "kubernetes_sd_configs": [discovery], "relabel_configs": found, **more}
            for job, found, more in (
                ("pdscale", _relabeling(*_POOLS), {}),
                # Its series name the namespace of the object that they are about.
                ("pdscale-operator", _relabeling(*_OPERATOR), {"honor_labels": True}),
            )
        ],
    }


def _relabeling(whose: str, who: str) -> list[dict[str, Any]]:
    def keep(label: str, pattern: str) -> dict[str, Any]:
        return {"action": "keep", "source_labels": [label], "regex": pattern}

    def name(label: str, target: str) -> dict[str, Any]:
        return {"source_labels": [label], "target_label": target}

    return [
        keep(f"{_LABEL}_app_kubernetes_io_{whose}", who),
        keep(f"{_POD}_container_port_name", "engine|admin"),
        # A pod that is over keeps its address in the API for a while.
        {
            "action": "drop",
            "source_labels": [f"{_POD}_phase"],
            "regex": "Pending|Succeeded|Failed",
        },
        name("__meta_kubernetes_namespace", "namespace"),
        name(f"{_POD}_name", "pod"),
        name(f"{_POD}_container_name", "container"),
        name(f"{_LABEL}_pdscale_io_deployment", "deployment"),
        name(f"{_LABEL}_pdscale_io_role", "role"),
    ]

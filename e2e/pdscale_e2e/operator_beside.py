"""The operator as a process beside the cluster, under the rights that the chart grants its ServiceAccount.

For those who end it at a chosen moment, put something between it and the API server, or measure it. The
chart's own Deployment must not run at the same time: it would serve the same objects.
"""

import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any, Final

import httpx
import yaml
from kubernetes import client

from pdscale.cli import main as command_line
from pdscale_e2e.component import Component
from pdscale_e2e.install import NAMESPACE, RELEASE

TOKEN_SECONDS: Final = 4 * 3600


def kubeconfig_of_operator(
    api: client.ApiClient, admin: Path, file: Path, *, server: str | None = None
) -> Path:
    """Write a kubeconfig with a token of the chart's ServiceAccount; ``server`` where not the admin's."""
    content = yaml.safe_load(admin.read_text())
    core: Any = client.CoreV1Api(api)
    request = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"audiences": [], "expirationSeconds": TOKEN_SECONDS},
    }
    token = core.create_namespaced_service_account_token(RELEASE, NAMESPACE, request).status.token
    for user in content["users"]:
        user["user"] = {"token": token}
    if server is not None:
        for cluster in content["clusters"]:
            cluster["cluster"] = {"server": server}
    file.write_text(json.dumps(content))
    file.chmod(0o600)
    return file


def variables(kubeconfig: Path, *, admin: tuple[str, int]) -> dict[str, str]:
    """The operator's environment; ``admin`` is where its health and metrics are."""
    host, port = admin
    return {
        "PDSCALE_KUBECONFIG": str(kubeconfig),
        "PDSCALE_ADMIN_HOST": host,
        "PDSCALE_ADMIN_PORT": str(port),
        "PDSCALE_ROUTER_CLUSTER_ROLE": f"{RELEASE}-router",
    }


def operator_process(kubeconfig: Path, log: Path, *, admin: tuple[str, int]) -> Component:
    """Not started yet."""
    command = (sys.executable, "-m", "pdscale", "operator")
    return Component("operator", command, log, env=variables(kubeconfig, admin=admin))


@dataclass(slots=True)
class ForkedOperator:
    """An operator that is there in a moment: forked from a process that has imported everything.

    It is a process like any other, and ``kill`` is a signal 9. Tests that end dozens of them would otherwise
    spend their time on imports.
    """

    environment: Mapping[str, str]
    log: Path
    _process: ForkServerProcess | None = None

    def start(self) -> None:
        self._process = _FORKS.Process(target=_operate, args=(dict(self.environment), str(self.log)))
        self._process.start()

    def kill(self) -> None:
        """From any thread; the end is waited for by ``over``."""
        if self._process is not None and self._process.pid is not None:
            os.kill(self._process.pid, signal.SIGKILL)

    def over(self, *, within: float = 10.0) -> None:
        """Wait until it has ended."""
        if self._process is not None:
            self._process.join(within)
            if self._process.is_alive():
                raise TimeoutError(f"the operator still runs after {within:g}s; its log is {self.log}")
            self._process = None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.is_alive()


_FORKS: Final = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["pdscale.controller.wiring"])


def _operate(environment: dict[str, str], log: str) -> None:
    """In the forked process."""
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.environ.update(environment)
    sys.exit(command_line(["operator"]))


def metrics_of(admin: tuple[str, int]) -> dict[str, float]:
    """Every sample of the operator's ``/metrics`` by its name and labels; empty while it does not answer."""
    try:
        text = httpx.get(f"http://{admin[0]}:{admin[1]}/metrics", timeout=10).text
    except httpx.HTTPError:
        return {}
    samples = (line.rpartition(" ") for line in text.splitlines() if line and not line.startswith("#"))
    return {name: float(value) for name, _, value in samples}

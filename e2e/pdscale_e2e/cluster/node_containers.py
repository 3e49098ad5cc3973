"""Containers that are a cluster's nodes: commands inside, power, and routes to their pods from the host."""

import json
import subprocess
from typing import Final

from pdscale_e2e.kubeconfig import Access
from pdscale_e2e.waiting import eventually

_SERVICES: Final = "10.96.0.0/16"  # kind's own default
_FLAGS: Final = "/var/lib/kubelet/kubeadm-flags.env"


class NodeContainers:
    """The node containers of the kind cluster ``name``; ``engine`` is the container engine's command."""

    def __init__(self, engine: str, name: str, access: Access) -> None:
        self._engine, self._name, self._access = engine, name, access
        self._routes: list[str] = []

    def names(self) -> list[str]:
        return run("kind", "get", "nodes", "--name", self._name).split()

    def inside(self, node: str, *command: str) -> str:
        return run(self._engine, "exec", node, *command)

    def stop(self, node: str) -> None:
        run(self._engine, "stop", "--time", "1", node)

    def kill(self) -> None:
        """Who deletes them asks their systemd to end first, which takes ten seconds each."""
        subprocess.run([self._engine, "kill", *self.names()], check=False, capture_output=True)

    def start(self, node: str) -> None:
        """It may come back at another address, which not every node image tells its kubelet."""
        before = self._known_address(node)
        run(self._engine, "start", node)
        now = self._address(node)
        if now != before:
            eventually(
                lambda: self._readdressed(node, before, now), within=60, what=f"{node} is at {now}", every=1
            )

    def route(self) -> None:
        """Pods through their node, Services through the control plane's kube-proxy."""
        self.unroute()
        names = self.names()
        known = eventually(
            lambda: self._pod_ranges(names), within=60, what=f"{', '.join(names)} have ranges for their pods"
        )
        for name, pods in known.items():
            ranges = [pods, _SERVICES] if name.endswith("control-plane") else [pods]
            address = self._address(name)
            for each in ranges:
                run("ip", "route", "replace", each, "via", address)
                self._routes.append(each)

    def _pod_ranges(self, names: list[str]) -> dict[str, str]:
        """Of all of them or of none: a node gets its range a moment after it has joined."""
        nodes = json.loads(self._access.get("/api/v1/nodes"))["items"]
        found = {node["metadata"]["name"]: node["spec"].get("podCIDR") for node in nodes}
        return {name: found[name] for name in names} if all(map(found.get, names)) else {}

    def unroute(self) -> None:
        for route in self._routes:
            subprocess.run(["ip", "route", "del", route], check=False, capture_output=True)
        self._routes = []

    def _readdressed(self, node: str, before: str, now: str) -> bool:
        if self._known_address(node) == now:
            return True
        change = (
            f"grep -q {before} {_FLAGS} && sed -i s/{before}/{now}/g {_FLAGS} && systemctl restart kubelet"
        )
        try:
            self.inside(node, "sh", "-c", change)
        except subprocess.CalledProcessError:
            pass  # already changed, or the node is not that far yet
        return False

    def _known_address(self, node: str) -> str:
        """By the API server."""
        addresses = json.loads(self._access.get(f"/api/v1/nodes/{node}"))["status"]["addresses"]
        return str(next(a["address"] for a in addresses if a["type"] == "InternalIP"))

    def _address(self, node: str) -> str:
        """By the engine: a container that was started again has a new one before its kubelet says so."""
        template = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}"
        return run(self._engine, "inspect", "--format", template, node).split()[0]


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout

"""Nodes that were added to a cluster, and the node agent that serves them."""

import json
import sys
import uuid
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any

from pdscale_e2e.asking import Unsuccessful
from pdscale_e2e.component import Component
from pdscale_e2e.kubeconfig import Access
from pdscale_e2e.nodes.spec import NodeSpec, dump
from pdscale_e2e.waiting import eventually


class AddedNodes:
    """A node agent in a process of its own, which can crash and come back."""

    def __init__(
        self,
        specs: Sequence[NodeSpec],
        *,
        access: Access,
        kubeconfig: Path,
        folder: Path,
        logs: Path,
        api: str | None = None,
        beside: Sequence[NodeSpec] = (),
    ) -> None:
        """``beside`` are nodes that are served too, but outlive ``stop``."""
        self.names: Sequence[str] = tuple(spec.name for spec in specs)
        self.logs = logs / "pods"
        self._access = access
        name = f"nodes-{uuid.uuid4().hex[:6]}"
        spec_file = folder / f"{name}.json"
        dump((*specs, *beside), spec_file)
        self._agent = Component(
            name,
            (
                *(sys.executable, "-m", "pdscale_e2e.nodes", "--kubeconfig", kubeconfig),
                *("--nodes", spec_file, "--logs", self.logs),
                *(("--api", api) if api else ()),
            ),
            logs / f"{name}.log",
        )

    @property
    def pid(self) -> int:
        return self._agent.pid

    def start(self) -> None:
        self._agent.start()
        eventually(
            self._schedulable,
            within=30 + 0.5 * len(self.names),
            what=f"nodes {', '.join(self.names)} to be Ready",
            every=0.05 if len(self.names) < 100 else 2.0,
        )

    def kill(self) -> None:
        self._agent.kill()

    def end_agent(self) -> None:
        self._agent.stop()

    def stop(self) -> None:
        """Pods of a node that is gone would wait for the garbage collector; nobody else needs them."""
        self.end_agent()
        for name in self.names:
            pods = json.loads(self._access.get(f"/api/v1/pods?fieldSelector=spec.nodeName={name}"))
            for pod in pods["items"]:
                metadata = pod["metadata"]
                path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
                self._delete(f"{path}?gracePeriodSeconds=0")
            self._delete(f"/api/v1/nodes/{name}")

    def _delete(self, path: str) -> None:
        try:
            self._access.delete(path)
        except Unsuccessful as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise

    def _schedulable(self) -> bool:
        """Every node is Ready and rid of the taints that it carries until controllers have seen it."""
        self._agent.check_alive()
        listing = json.loads(self._access.get("/api/v1/nodes"))
        nodes = {node["metadata"]["name"]: node for node in listing["items"]}
        return all(name in nodes and _is_schedulable(nodes[name]) for name in self.names)


class FakeNodes:
    """All that were added to a cluster whose own nodes are somebody else's business."""

    def __init__(self, access: Access, *, kubeconfig: Path, folder: Path, logs: Path) -> None:
        self._access, self._kubeconfig, self._folder, self._logs = access, kubeconfig, folder, logs
        self._added: list[AddedNodes] = []

    def add(self, specs: Sequence[NodeSpec]) -> AddedNodes:
        added = AddedNodes(
            specs, access=self._access, kubeconfig=self._kubeconfig, folder=self._folder, logs=self._logs
        )
        self._added.append(added)
        added.start()
        return added

    def stop(self) -> None:
        for added in self._added:
            added.stop()

    def end_agents(self) -> None:
        """Where the nodes go with their cluster."""
        for added in self._added:
            added.end_agent()


def _is_schedulable(node: dict[str, Any]) -> bool:
    taints = node["spec"].get("taints") or ()
    conditions = {c["type"]: c["status"] for c in node["status"].get("conditions") or ()}
    waiting = any(taint["key"].startswith("node.kubernetes.io/") for taint in taints)
    return conditions.get("Ready") == "True" and not waiting

"""The node's own life in the API: its object, its conditions, its heartbeat.

A Lease that is renewed in time is what keeps a node Ready. The conditions are sent again now and
then, because the controller manager overwrites them once a node has been silent for too long.
"""

import asyncio
import logging
import math
from datetime import UTC, datetime
from typing import Final

from pdscale_e2e.nodes.client import STRATEGIC, Client, Json, Refused, Unreachable
from pdscale_e2e.nodes.spec import GPU, NodeSpec

_NODES: Final = "/api/v1/nodes"
_LEASES: Final = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
_HEARTBEATS_PER_LEASE: Final = 4
_STATUS_EVERY: Final = 6
_VERSION: Final = "v1.36.2"
_log = logging.getLogger(__name__)


def timestamp(moment: datetime | None = None) -> str:
    """RFC 3339 in whole seconds, as Kubernetes writes most of its times."""
    return (moment or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%SZ")


def labels_of(spec: NodeSpec) -> dict[str, str]:
    """What a kubelet and NVIDIA's feature discovery would attach."""
    labels = {
        "kubernetes.io/hostname": spec.name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        "pdscale.io/e2e-node": spec.mode.value,
    }
    if spec.gpus:
        labels |= {
            "nvidia.com/gpu.present": "true",
            "nvidia.com/gpu.count": str(spec.gpus),
            "nvidia.com/gpu.product": spec.gpu_product,
            "nvidia.com/gpu.memory": str(spec.gpu_memory_mib),
        }
    return {**labels, **spec.labels}


def status_of(spec: NodeSpec, address: str | None) -> Json:
    capacity = {"cpu": str(spec.cpu), "memory": spec.memory, "pods": str(spec.pods)}
    if spec.gpus:
        capacity[GPU] = str(spec.gpus)
    addresses = [{"type": "Hostname", "address": spec.name}]
    if address:
        addresses.insert(0, {"type": "InternalIP", "address": address})
    return {
        "capacity": capacity,
        "allocatable": capacity,
        "addresses": addresses,
        "conditions": _conditions(),
        "nodeInfo": {
            "kubeletVersion": _VERSION,
            "kubeProxyVersion": "",
            "operatingSystem": "linux",
            "architecture": "amd64",
            "containerRuntimeVersion": "pdscale-e2e://1",
            "kernelVersion": "",
            "osImage": "",
            "machineID": "",
            "systemUUID": "",
            "bootID": "",
        },
    }


def _conditions() -> list[Json]:
    now = timestamp()
    good = {"Ready": "True", "MemoryPressure": "False", "DiskPressure": "False", "PIDPressure": "False"}
    return [
        {
            "type": kind,
            "status": status,
            "reason": "NodeAgent",
            "message": "served by the end-to-end node agent",
            "lastHeartbeatTime": now,
        }
        for kind, status in good.items()
    ]


class Node:
    """Registers one node and keeps it Ready."""

    def __init__(self, client: Client, spec: NodeSpec) -> None:
        self.spec = spec
        self._client = client
        self.address: str | None = None
        self._path = f"{_NODES}/{spec.name}"

    async def register(self) -> str | None:
        """Create the node or take it over; returns its range of pod addresses, if it has one."""
        body: Json = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": self.spec.name, "labels": labels_of(self.spec)},
            "spec": {"taints": self.spec.all_taints},
        }
        try:
            await self._client.create(_NODES, body)
        except Refused as error:
            if error.status != 409:
                raise
        return await self._pod_range()

    async def _pod_range(self) -> str | None:
        """The controller manager hands ranges out a moment after the node appears."""
        for _ in range(50):
            node = await self._client.get(self._path)
            if pod_range := node["spec"].get("podCIDR"):
                return str(pod_range)
            await asyncio.sleep(0.1)
        return None

    async def report(self) -> None:
        status = status_of(self.spec, self.address)
        await self._client.patch(f"{self._path}/status", {"status": status}, STRATEGIC)

    async def keep_alive(self) -> None:
        """Renew the Lease for ever."""
        beat = 0
        while True:
            try:
                await self._renew()
                if beat % _STATUS_EVERY == 0:
                    await self.report()
                beat += 1
            except (Refused, Unreachable) as error:
                _log.warning("heartbeat of node %s: %s", self.spec.name, error)
                beat = 0
            await asyncio.sleep(self.spec.heartbeat if beat else 1.0)

    async def _renew(self) -> None:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec = {
            "holderIdentity": self.spec.name,
            "leaseDurationSeconds": math.ceil(_HEARTBEATS_PER_LEASE * self.spec.heartbeat),
            "renewTime": now,
        }
        try:
            await self._client.patch(f"{_LEASES}/{self.spec.name}", {"spec": spec})
        except Refused as error:
            if error.status != 404:
                raise
            lease = {
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": {"name": self.spec.name, "namespace": "kube-node-lease"},
                "spec": spec,
            }
            await self._client.create(_LEASES, lease)

    async def remove(self) -> None:
        for path in (self._path, f"{_LEASES}/{self.spec.name}"):
            try:
                await self._client.delete(path)
            except Refused as error:
                if error.status != 404:
                    raise

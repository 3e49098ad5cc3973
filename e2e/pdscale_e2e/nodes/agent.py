"""One process that serves many nodes: registers them, keeps them Ready, looks after their pods.

One watch of all bound pods feeds all nodes; pods of other nodes are passed over. The agent never binds
a pod: that is the scheduler's work, GPU counts and taints included.
"""

import asyncio
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, Protocol

from pdscale_e2e import kubeconfig
from pdscale_e2e.nodes.allotments import Addresses, Devices
from pdscale_e2e.nodes.client import Client, Event, Json, Kind, Refused, Unreachable
from pdscale_e2e.nodes.node import Node
from pdscale_e2e.nodes.pod import ProcessPod
from pdscale_e2e.nodes.podapi import PodApi
from pdscale_e2e.nodes.simulated import StatusPods
from pdscale_e2e.nodes.spec import Mode, NodeSpec
from pdscale_e2e.nodes.status import is_over
from pdscale_e2e.nodes.surroundings import Host

_PODS: Final = "/api/v1/pods"
# The watch of the API server knows no set of node names, only "any".
_BOUND: Final = {"fieldSelector": "spec.nodeName!="}
_RETRY_AFTER: Final = 0.5
_AT_ONCE: Final = 20  # nodes that register together
_log = logging.getLogger(__name__)


class Pods(Protocol):
    """What a node does with its pods."""

    def changed(self, pod: Json) -> None: ...
    async def gone(self, uid: str) -> None: ...


class ProcessPods:
    """The pods of one node in ``process`` mode."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._pods: dict[str, ProcessPod] = {}

    def changed(self, pod: Json) -> None:
        uid = pod["metadata"]["uid"]
        if uid not in self._pods:
            if (address := pod.get("status", {}).get("podIP")) and not is_over(pod):
                # From before our time: nobody who is looked at next may get it.
                self._host.addresses.of(uid, address)
            self._pods[uid] = ProcessPod(pod, self._host)
        self._pods[uid].changed(pod)

    async def gone(self, uid: str) -> None:
        if pod := self._pods.pop(uid, None):
            await pod.gone()
        self._host.addresses.give_back(uid)


class Agent:
    """``service`` is what pods are told of the API server; ``work`` and ``logs`` are folders."""

    def __init__(
        self,
        access: kubeconfig.Access,
        specs: Sequence[NodeSpec],
        *,
        service: tuple[str, str],
        work: Path,
        logs: Path,
    ) -> None:
        self._access = access
        self._specs = specs
        self._service = service
        self._work = work
        self._logs = logs
        self._pods: dict[str, Pods] = {}

    async def run(self) -> None:
        """For ever; ends only by being cancelled, or by a bug."""
        async with Client(self._access) as client, asyncio.TaskGroup() as group:
            api = PodApi(client)
            for some in _parts(self._specs, _AT_ONCE):
                nodes = [Node(client, spec) for spec in some]
                opened = await asyncio.gather(*(self._open(node, client, api) for node in nodes))
                for node, pods in zip(nodes, opened, strict=True):
                    self._pods[node.spec.name] = pods
                    group.create_task(node.keep_alive())
            _log.info("serving %d nodes", len(self._specs))
            async for event in client.follow(_PODS, _BOUND):
                await self._dispatch(event)

    async def _open(self, node: Node, client: Client, api: PodApi) -> Pods:
        addresses = await _registered(node)
        if node.spec.mode is Mode.STATUS:
            return StatusPods(node.spec, addresses, api)
        return ProcessPods(
            Host(
                client=client,
                api=api,
                addresses=addresses,
                devices=Devices(node.spec.gpus),
                backoff_cap=node.spec.backoff_cap,
                work=self._work,
                logs=self._logs,
                service=self._service,
            )
        )

    async def _dispatch(self, event: Event) -> None:
        if event.kind is Kind.SYNCED:
            return
        pods = self._pods.get(event.item["spec"].get("nodeName") or "")
        if pods is None:
            return
        if event.kind is Kind.GONE:
            await pods.gone(event.item["metadata"]["uid"])
        else:
            pods.changed(event.item)


def _parts(specs: Sequence[NodeSpec], size: int) -> Iterator[Sequence[NodeSpec]]:
    return (specs[at : at + size] for at in range(0, len(specs), size))


async def _registered(node: Node) -> Addresses:
    """The node's addresses, once the API server has taken note of it."""
    while True:
        try:
            addresses = Addresses(await node.register(), node.spec.name)
            node.address = addresses.own
            await node.report()
            return addresses
        except (Refused, Unreachable) as error:
            _log.warning("node %s: %s", node.spec.name, error)
            await asyncio.sleep(_RETRY_AFTER)

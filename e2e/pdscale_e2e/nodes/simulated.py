"""Pods whose status says that they run. One task per pod in transition, nothing for those at rest."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from pdscale_e2e.nodes.allotments import Addresses, NothingLeft
from pdscale_e2e.nodes.client import Json
from pdscale_e2e.nodes.node import timestamp
from pdscale_e2e.nodes.podapi import PodApi
from pdscale_e2e.nodes.spec import NodeSpec
from pdscale_e2e.nodes.status import ContainerView, is_over, is_ready, is_sidecar, pod_status


class StatusPods:
    """The pods of one node in ``status`` mode."""

    def __init__(self, spec: NodeSpec, addresses: Addresses, api: PodApi) -> None:
        self._spec = spec
        self._addresses = addresses
        self._api = api
        self._moving: dict[str, asyncio.Task[None]] = {}
        self._ending: set[str] = set()

    def changed(self, pod: Json) -> None:
        uid = pod["metadata"]["uid"]
        if pod["metadata"].get("deletionTimestamp"):
            if uid not in self._ending:
                self._ending.add(uid)
                self._move(uid, self._end(pod))
        elif is_over(pod):
            self._addresses.give_back(uid)
        elif is_ready(pod):
            # Before our time, if we were restarted: its address is taken.
            self._addresses.of(uid, pod["status"].get("podIP"))
        elif uid not in self._moving:
            self._move(uid, self._start(pod))

    async def gone(self, uid: str) -> None:
        self._ending.discard(uid)
        self._addresses.give_back(uid)
        if task := self._moving.pop(uid, None):
            task.cancel()

    def _move(self, uid: str, step: Coroutine[Any, Any, None]) -> None:
        if previous := self._moving.pop(uid, None):
            previous.cancel()
        task = asyncio.create_task(step)
        self._moving[uid] = task

        def forget(done: asyncio.Task[None]) -> None:
            if self._moving.get(uid) is done:
                del self._moving[uid]

        task.add_done_callback(forget)

    async def _start(self, pod: Json) -> None:
        await asyncio.sleep(self._spec.start_delay)
        uid = pod["metadata"]["uid"]
        try:
            address = self._addresses.of(uid, pod.get("status", {}).get("podIP"))
        except NothingLeft as error:
            await self._api.report(pod, {"phase": "Failed", "reason": "OutOfPods", "message": str(error)})
            return
        await self._api.report(pod, _running(pod, address, self._addresses.own))

    async def _end(self, pod: Json) -> None:
        await asyncio.sleep(self._spec.stop_delay)
        await self._api.remove(pod)


def _running(pod: Json, address: str, host: str) -> Json:
    now = timestamp()
    running = {"running": {"startedAt": now}}
    completed = {"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": now, "finishedAt": now}}
    init = [
        _view(container, running if is_sidecar(container) else completed)
        for container in pod["spec"].get("initContainers") or ()
    ]
    main = [_view(container, running) for container in pod["spec"]["containers"]]
    return pod_status(
        pod,
        phase="Running",
        initialized=True,
        init=init,
        main=main,
        address=address,
        host=host,
        now=now,
    )


def _view(container: Json, state: Json) -> ContainerView:
    return ContainerView(
        name=container["name"],
        image=container.get("image", ""),
        state=state,
        last={},
        ready=True,
        started="running" in state,
        restarts=0,
    )

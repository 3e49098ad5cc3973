"""A pod in ``process`` mode: its containers in order, its status, its end.

Init containers run one after the other; a native sidecar counts as done when it has started, and keeps
running. At the end every preStop hook runs at once, main containers are stopped first, sidecars after
them in reverse order, all within one grace period. That is the kubelet's order, and it is what a
sidecar that drains connections depends on.

While a pod terminates its readiness goes on being probed, as in a kubelet: clients are kept away by
the deletion timestamp, which EndpointSlices turn into "not ready".
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

from pdscale_e2e.nodes.allotments import NothingLeft
from pdscale_e2e.nodes.client import Json
from pdscale_e2e.nodes.container import Container, Restart
from pdscale_e2e.nodes.node import timestamp
from pdscale_e2e.nodes.status import is_over, is_sidecar, pod_status
from pdscale_e2e.nodes.surroundings import Host, Surroundings
from pdscale_e2e.nodes.volumes import REFRESH_EVERY

_DEFAULT_GRACE: Final = 30


class ProcessPod:
    """One pod, from being bound to the node until nothing of it is left."""

    def __init__(self, pod: Json, host: Host) -> None:
        self._pod = pod
        self._host = host
        self._surroundings: Surroundings | None = None
        self._init: list[Container] = []
        self._main: list[Container] = []
        self._running: dict[str, asyncio.Task[None]] = {}
        self._phase: str = pod.get("status", {}).get("phase") or "Pending"
        self._initialized = False
        self._changed = asyncio.Event()
        self._ending: asyncio.Task[None] | None = None
        self._living = asyncio.create_task(self._live())
        self._reporting = asyncio.create_task(self._report_changes())
        self._refreshing = asyncio.create_task(self._refresh())

    def changed(self, pod: Json) -> None:
        before, self._pod = self._pod, pod
        if self._surroundings is not None and before["metadata"] != pod["metadata"]:
            self._surroundings.follow_labels(pod)
        if pod["spec"].get("readinessGates"):
            self._changed.set()
        if pod["metadata"].get("deletionTimestamp") and self._ending is None:
            self._ending = asyncio.create_task(self._end())

    async def gone(self) -> None:
        """The object is gone: nothing may be left of what it stood for."""
        await _cancel(self._living, self._reporting, self._refreshing, self._ending)
        for container in (*self._main, *self._init):
            container.kill()
        await asyncio.gather(*self._running.values(), return_exceptions=True)
        if self._surroundings is not None:
            self._surroundings.give_back()

    async def _live(self) -> None:
        if is_over(self._pod):
            return
        try:
            self._surroundings = Surroundings(self._pod, self._host)
        except NothingLeft as error:
            reason = {"reason": "UnexpectedAdmissionError", "message": str(error)}
            await self._host.api.report(self._pod, {"phase": "Failed", **reason})
            return
        self._phase = "Pending"
        self._make_containers(self._surroundings)
        self._changed.set()
        good = await self._initialize() and await self._run_main()
        await self._stop(self._sidecars, self._grace)
        self._phase = "Succeeded" if good else "Failed"
        self._changed.set()

    def _make_containers(self, surroundings: Surroundings) -> None:
        spec = self._pod["spec"]
        policy = Restart(spec.get("restartPolicy", Restart.ALWAYS))
        once = Restart.NEVER if policy is Restart.NEVER else Restart.ON_FAILURE
        counts = _restarts_so_far(self._pod)

        def make(entry: Json, restart: Restart) -> Container:
            return Container(
                entry,
                address=surroundings.facts.address,
                restart=restart,
                restarts=counts.get(entry["name"], 0),
                grace=self._grace,
                backoff_cap=self._host.backoff_cap,
                logs=self._host.logs / _log_folder(self._pod),
                surroundings=lambda container: surroundings.launch(self._pod, container),
                changed=self._changed.set,
            )

        for entry in spec.get("initContainers") or ():
            self._init.append(make(entry, Restart.ALWAYS if is_sidecar(entry) else once))
        self._main += [make(entry, policy) for entry in spec["containers"]]

    async def _initialize(self) -> bool:
        """Every init container in its turn; false when one failed for good."""
        for container in self._init:
            self._start(container)
            if is_sidecar(container.spec):
                await container.started.wait()
            else:
                await container.over.wait()
                if not container.view.succeeded:
                    return False
        self._initialized = True
        return True

    async def _run_main(self) -> bool:
        """Until every main container is over for good, which most never are."""
        for container in self._main:
            self._start(container)
        self._phase = "Running"
        self._changed.set()
        await asyncio.gather(*(c.over.wait() for c in self._main))
        return all(c.view.succeeded for c in self._main)

    def _start(self, container: Container) -> None:
        self._running[container.name] = asyncio.create_task(container.run())

    async def _end(self) -> None:
        await _cancel(self._living, self._refreshing)
        await self._stop((*self._init, *self._main), self._grace)
        await _cancel(self._reporting)
        if self._main:
            await self._host.api.report(self._pod, self._status())
        if self._surroundings is not None:
            self._surroundings.give_back()
        await self._host.api.remove(self._pod)

    async def _stop(self, containers: Iterable[Container], grace: float) -> None:
        chosen = [c for c in containers if c.name in self._running]
        await asyncio.gather(*(c.stop(grace, self._turn_of(c)) for c in chosen))
        await asyncio.gather(*(self._running[c.name] for c in chosen))

    def _turn_of(self, container: Container) -> Callable[[], Awaitable[Any]] | None:
        """A sidecar goes after the main containers and after the sidecars that came after it."""
        if container not in self._sidecars:
            return None
        later = self._sidecars[self._sidecars.index(container) + 1 :]
        before = [c for c in (*self._main, *later) if c.name in self._running]
        return lambda: asyncio.gather(*(c.over.wait() for c in before))

    @property
    def _sidecars(self) -> list[Container]:
        return [c for c in self._init if is_sidecar(c.spec)]

    @property
    def _grace(self) -> float:
        metadata, spec = self._pod["metadata"], self._pod["spec"]
        asked = metadata.get("deletionGracePeriodSeconds")
        if asked is None:
            asked = spec.get("terminationGracePeriodSeconds")
        return _DEFAULT_GRACE if asked is None else float(asked)

    async def _refresh(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_EVERY)
            if self._surroundings is not None:
                await self._surroundings.refresh(self._pod)

    async def _report_changes(self) -> None:
        """Changes that come while one is being written go out together."""
        reported = True
        while reported:
            await self._changed.wait()
            self._changed.clear()
            if self._main:
                reported = await self._host.api.report(self._pod, self._status())

    def _status(self) -> Json:
        facts = None if self._surroundings is None else self._surroundings.facts
        return pod_status(
            self._pod,
            phase=self._phase,
            initialized=self._initialized,
            init=[c.view for c in self._init],
            main=[c.view for c in self._main],
            address=None if facts is None else facts.address,
            host=self._host.addresses.own,
            now=timestamp(),
        )


async def _cancel(*tasks: asyncio.Task[None] | None) -> None:
    alive = [task for task in tasks if task is not None]
    for task in alive:
        task.cancel()
    await asyncio.gather(*alive, return_exceptions=True)


def _log_folder(pod: Json) -> str:
    return f"{pod['metadata']['namespace']}_{pod['metadata']['name']}"


def _restarts_so_far(pod: Json) -> dict[str, int]:
    """An agent that was restarted finds pods without their processes: one restart more."""
    status = pod.get("status", {})
    seen = [
        *(status.get("containerStatuses") or ()),
        *(status.get("initContainerStatuses") or ()),
    ]
    return {s["name"]: s["restartCount"] + ("running" in (s.get("state") or {})) for s in seen}

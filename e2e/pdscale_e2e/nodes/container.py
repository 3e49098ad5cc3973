"""One container of a pod in ``process`` mode: start, probe, restart, stop.

``run`` is the container's life and returns when it is over for good. ``stop`` is the way out that a
kubelet takes: preStop, then SIGTERM, then SIGKILL when the grace is used up.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Final

from pdscale_e2e.nodes.client import Json, Refused, Unreachable
from pdscale_e2e.nodes.environment import CannotConfigure
from pdscale_e2e.nodes.handlers import Target, perform
from pdscale_e2e.nodes.launch import START_FAILED, Launch
from pdscale_e2e.nodes.node import timestamp
from pdscale_e2e.nodes.probes import (
    Probe,
    Unhealthy,
    await_startup,
    watch_liveness,
    watch_readiness,
)
from pdscale_e2e.nodes.process import Process, run_to_end
from pdscale_e2e.nodes.status import ContainerView

# However short the grace is, a process that is asked to end gets this long.
LEAST_GRACE: Final = 2.0
_FIRST_BACKOFF: Final = 0.5
_TRY_AGAIN_AFTER: Final = 1.0
_log = logging.getLogger(__name__)


class Restart(StrEnum):
    """When a container that ended is started again."""

    ALWAYS = "Always"
    ON_FAILURE = "OnFailure"
    NEVER = "Never"

    def wanted_after(self, code: int) -> bool:
        return self is Restart.ALWAYS or (self is Restart.ON_FAILURE and code != 0)


class Container:
    """``surroundings`` makes the launch of a run; it may raise ``CannotConfigure``."""

    def __init__(
        self,
        spec: Json,
        *,
        address: str,
        restart: Restart,
        restarts: int,
        grace: float,
        backoff_cap: float,
        logs: Path,
        surroundings: Callable[[Json], Awaitable[Launch]],
        changed: Callable[[], None],
    ) -> None:
        self.name: str = spec["name"]
        self.spec = spec
        self._address = address
        self._restart = restart
        self._restarts = restarts
        self._grace = grace
        self._backoff_cap = backoff_cap
        self._logs = logs
        self._surroundings = surroundings
        self._changed = changed
        self._state: Json = _waiting("PodInitializing")
        self._last: Json = {}
        self._ready = False
        self._process: Process | None = None
        self._launch: Launch | None = None
        self._stopping = asyncio.Event()
        self.started = asyncio.Event()
        self.over = asyncio.Event()

    @property
    def view(self) -> ContainerView:
        return ContainerView(
            name=self.name,
            image=self.spec.get("image", ""),
            state=self._state,
            last=self._last,
            ready=self._ready,
            started=self.started.is_set(),
            restarts=self._restarts,
        )

    async def run(self) -> None:
        backoff = 0.0
        try:
            while not self._stopping.is_set():
                began = time.monotonic()
                code = await self._once()
                if code is None or not self._restart.wanted_after(code) or self._stopping.is_set():
                    return
                # A run that lasted is forgiven, as kubelets do after twice the cap.
                backoff = 0.0 if time.monotonic() - began > 2 * self._backoff_cap else backoff
                await self._wait_out(backoff)
                backoff = min(self._backoff_cap, 2 * backoff or _FIRST_BACKOFF)
                self._restarts += 1
        finally:
            self.over.set()

    async def _once(self) -> int | None:
        """One run of the process; ``None`` when there was none, because the pod has to stop."""
        launch = await self._launch_when_possible()
        if launch is None or self._stopping.is_set():
            return None
        self._launch = launch
        log = self._logs / f"{self.name}.{self._restarts}.log"
        process = self._process = Process(launch, log)
        since = timestamp()
        self._be({"running": {"startedAt": since}})
        care = asyncio.create_task(self._care_for(process))
        code = await process.wait()
        care.cancel()
        await asyncio.gather(care, return_exceptions=True)
        self._process = None
        self._ready = False
        self.started.clear()
        self._be(_terminated(code, since, log))
        return code

    async def _launch_when_possible(self) -> Launch | None:
        """A missing ConfigMap may still come; a missing command will not, but costs nothing."""
        while not self._stopping.is_set():
            try:
                if not self.spec.get("command") and not self.spec.get("args"):
                    self._be(_waiting("ErrImagePull", _NO_COMMAND.format(self.spec.get("image"))))
                else:
                    return await self._surroundings(self.spec)
            except CannotConfigure as error:
                self._be(_waiting("CreateContainerConfigError", str(error)))
            except (Refused, Unreachable) as error:
                _log.info("container %s has to wait: %s", self.name, error)
            await self._pause(_TRY_AGAIN_AFTER)
        return None

    async def _care_for(self, process: Process) -> None:
        """Probes and the postStart hook; ends the process when it is found unhealthy."""
        target = self.target()
        grace = self._grace
        probes = {kind: Probe.parse(self.spec.get(f"{kind}Probe")) for kind in _PROBES}
        try:
            await self._hook("postStart", self._grace)
            grace = _grace_of(probes["startup"], self._grace)
            await await_startup(probes["startup"], target)
            self.started.set()
            self._changed()
            grace = _grace_of(probes["liveness"], self._grace)
            async with asyncio.TaskGroup() as group:
                group.create_task(watch_readiness(probes["readiness"], target, self._say_ready))
                group.create_task(self._watch_liveness(probes["liveness"], target))
        except* Unhealthy as group_of:
            _log.info("container %s is stopped: %s", self.name, group_of.exceptions[0])
            self._say_ready(False)
            await process.stop(grace)

    async def _watch_liveness(self, probe: Probe | None, target: Target) -> None:
        """A pod that is going away is not restarted for being unwell."""
        watching = asyncio.create_task(watch_liveness(probe, target))
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait((watching, stopping), return_when=asyncio.FIRST_COMPLETED)
            if watching.done():
                watching.result()
        finally:
            watching.cancel()
            stopping.cancel()

    def target(self) -> Target:
        ports = {p["name"]: p["containerPort"] for p in self.spec.get("ports") or () if "name" in p}
        return Target(self._address, self._execute, ports)

    async def _execute(self, argv: Sequence[str], within: float) -> int | None:
        if self._launch is None:
            raise OSError(f"container {self.name} is not running")
        return await run_to_end(self._launch.running(argv), self._logs / f"{self.name}.exec.log", within)

    async def _hook(self, name: str, within: float) -> None:
        handler = (self.spec.get("lifecycle") or {}).get(name)
        if handler is not None:
            why = await perform(handler, self.target(), within)
            if why is not None:
                _log.warning("%s hook of container %s: %s", name, self.name, why)

    async def stop(self, grace: float, turn: Callable[[], Awaitable[None]] | None = None) -> None:
        """Kubelet's order: preStop at once, then wait for the turn, then SIGTERM; one clock for all."""
        self._stopping.set()
        deadline = time.monotonic() + grace
        if self._process is not None and grace > 0:
            await self._hook("preStop", grace)
        if turn is not None and (left := deadline - time.monotonic()) > 0:
            try:
                await asyncio.wait_for(turn(), left)
            except TimeoutError:
                pass
        if self._process is not None:
            await self._process.stop(max(LEAST_GRACE, deadline - time.monotonic()))

    def kill(self) -> None:
        """At once, as when the pod's object is gone already."""
        self._stopping.set()
        if self._process is not None:
            self._process.kill()

    def _say_ready(self, ready: bool) -> None:
        if ready is not self._ready:
            self._ready = ready
            self._changed()

    def _be(self, state: Json) -> None:
        if "terminated" in self._state and "terminated" not in state:
            self._last = self._state
        if state != self._state:
            self._state = state
            self._changed()

    async def _wait_out(self, backoff: float) -> None:
        if backoff:
            ended = self._state
            note = f"back-off {backoff:g}s restarting failed container {self.name}"
            self._be(_waiting("CrashLoopBackOff", note))
            self._last = ended
        await self._pause(backoff)

    async def _pause(self, seconds: float) -> None:
        """Sleep, unless the pod has to stop."""
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            pass


_PROBES: Final = ("startup", "readiness", "liveness")
_NO_COMMAND: Final = (
    "image {!r} is not pulled: the node agent runs plain commands, and the container has none"
)


def _waiting(reason: str, message: str = "") -> Json:
    return {"waiting": {"reason": reason, **({"message": message} if message else {})}}


def _terminated(code: int, since: str, log: Path) -> Json:
    reason = {0: "Completed", START_FAILED: "StartError"}.get(code, "Error")
    ended: Json = {
        "exitCode": code,
        "reason": reason,
        "startedAt": since,
        "finishedAt": timestamp(),
    }
    if reason == "StartError":
        ended["message"] = log.read_text(errors="replace").strip().rpartition("\n")[2]
    return {"terminated": ended}


def _grace_of(probe: Probe | None, grace: float) -> float:
    return grace if probe is None or probe.grace is None else probe.grace

"""Carries a trade out: a running pod of the giving pool becomes one of the receiving pool.

The steps, and what a process that dies after each leaves behind:

1. a note on the receiving Deployment: nothing has happened, and the next tick undoes or goes on. An engine
   with a role of its own is told to change now, while no router uses it; asked again, it agrees again;
2. the receiving scale one up: its ReplicaSet makes a pod that is gated, so it holds no GPU;
3. the pod's labels, in one write: the giving ReplicaSet releases it and makes a gated one in its place, the
   receiving one adopts it and deletes its own gated one;
4. the giving scale one down: its ReplicaSet deletes the gated one;
5. the note says that it is over.

The third and the fourth step wait until the ReplicaSets have followed the one before. Of labels before the
scale they see a pod too many, and of a scale before the labels as well: they would delete one that serves.
What takes longer than a tick can wait is waited for by the next one.

A pod that is gone or not ready before the third step undoes the first two. A giving scale that somebody else
owns undoes all.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from pdscale.api.translate import has_own_role
from pdscale.api.v1alpha1 import ServingDeployment
from pdscale.controller.observe import Workloads
from pdscale.kube.client import Kube, Object
from pdscale.kube.errors import Conflict, NotFound
from pdscale.kube.flips import Flip, Home, Labels, home_of, lives_in, note, relabel
from pdscale.kube.manifests import child_name
from pdscale.kube.pools import ROLE_LABEL, is_leaving, is_ready
from pdscale.kube.scale import Owned, ScaleWrite, deployment_at, send
from pdscale.model.pools import Role
from pdscale.model.units import Seconds

Switch = Callable[[str, Role], Awaitable[None]]
_log = logging.getLogger("pdscale.flip")
PATIENCE: Final[Seconds] = 2.0  # for controllers, in a tick; with nothing in their way they take 0.1 s
_EVERY: Final[Seconds] = 0.05


@dataclass(frozen=True, slots=True)
class Flipped:
    """What came of it. ``flip`` is absent where it was undone, never begun, or ``waits`` in the middle."""

    flip: Flip | None = None
    written: tuple[ScaleWrite, ...] = ()
    refused: tuple[Owned, ...] = ()
    waits: bool = False


@dataclass(frozen=True, slots=True)
class Course:
    """One flip, from wherever it stands; each step is written only if it is not yet done."""

    kube: Kube
    wanted: ServingDeployment
    workloads: Workloads
    flip: Flip
    now: Seconds
    switch: Switch
    patience: Seconds = PATIENCE

    async def run(self) -> Flipped:
        flip, pod = self.flip, self._pod()
        home = await home_of(self.kube, self._deployment(flip.to))
        moved = pod is not None and _labels(pod)[ROLE_LABEL] == flip.to
        if pod is None or home is None or not (moved or is_ready(pod)):
            return await self._undone("its pod is not ready, or its new pool not rolled out")
        room = ScaleWrite(flip.to, flip.receiving - 1, flip.receiving)
        if not moved:
            await self._tell(pod, flip.to)
            if refused := await self._scale(room):
                await self._tell(pod, flip.source)
                return await self._undone(refused.message, refused)
            if not await self._awaited(self._has_room):
                return self._later("room")
            try:
                await relabel(self.kube, self._namespace, flip, before=_labels(pod), after=home.labels)
            except (NotFound, Conflict) as error:
                return await self._undone(str(error))
        if not await self._lives(flip.to, home):
            return self._later("its adoption")
        less = ScaleWrite(flip.source, flip.giving + 1, flip.giving)
        if refused := await self._scale(less):
            await self._tell(pod, flip.source)
            await self._move_back(home.labels)
            return await self._undone(refused.message, refused)
        await self.note(flip.done(self.now))
        _log.info("%s: %s changed its role", self.wanted.metadata.name, flip)
        return Flipped(flip, (less, room))

    async def note(self, flip: Flip | None) -> None:
        await note(self.kube, self._namespace, child_name(self.wanted.metadata.name, self.flip.to), flip)

    async def _tell(self, pod: Object, role: Role) -> None:
        """An engine with a role of its own takes this one, or raises ``RoleRefused`` or ``EngineSilent``."""
        if has_own_role(self.wanted.spec):
            address = pod["status"]["podIP"]
            host = f"[{address}]" if ":" in address else address
            await self.switch(f"http://{host}:{self.wanted.spec.engine.port}", role)

    async def _undone(self, why: str, *refused: Owned) -> Flipped:
        """The receiving pool as it was. Whoever refuses that has taken its scale over."""
        flip = self.flip
        await self._scale(ScaleWrite(flip.to, flip.receiving, flip.receiving - 1))
        await self.note(None)
        _log.warning("%s: %s is undone: %s", self.wanted.metadata.name, flip, why)
        return Flipped(refused=refused)

    async def _move_back(self, labels: Labels) -> None:
        former = await home_of(self.kube, self._deployment(self.flip.source))
        if former is not None:
            await relabel(self.kube, self._namespace, self.flip, before=labels, after=former.labels)
            await self._lives(self.flip.source, former)

    def _later(self, what: str) -> Flipped:
        _log.info("%s: %s waits for %s", self.wanted.metadata.name, self.flip, what)
        return Flipped(waits=True)

    async def _has_room(self) -> bool:
        home = await home_of(self.kube, self._deployment(self.flip.to))
        return home is not None and home.replicas is not None and home.replicas >= self.flip.receiving

    async def _lives(self, role: Role, home: Home) -> bool:
        deployment = self._deployment(role)
        return await self._awaited(lambda: lives_in(self.kube, deployment, home, self.flip.uid))

    async def _awaited(self, done: Callable[[], Awaitable[bool]]) -> bool:
        """Whether it came true while this tick can wait."""
        for _ in range(int(self.patience / _EVERY)):
            if await done():
                return True
            await asyncio.sleep(_EVERY)
        return await done()

    async def _scale(self, write: ScaleWrite) -> Owned | None:
        name = child_name(self.wanted.metadata.name, write.role)
        return await send(self.kube, write, deployment_at(self._namespace, name))

    def _pod(self) -> Object | None:
        found = (p for p in self.workloads.pods if p["metadata"]["uid"] == self.flip.uid)
        return next((p for p in found if not is_leaving(p)), None)

    def _deployment(self, role: Role) -> Object:
        return self.workloads.deployments[child_name(self.wanted.metadata.name, role)]

    @property
    def _namespace(self) -> str:
        return self.wanted.metadata.namespace


def _labels(pod: Object) -> Labels:
    return dict(pod["metadata"]["labels"])

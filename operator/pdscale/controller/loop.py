"""One tick: look at the whole state, decide, write what differs, say so.

Every tick starts from what is stored and is safe to repeat: a process that dies anywhere in it loses nothing
but the waiting time of the scale-down window, which starts anew and never shorter. What goes wrong in
expected ways becomes a condition (``refusals``); anything else may fly to kopf, which calls again.

Ticks of many objects run side by side, and each of the two stages that have the API server's lists in hand
takes ``PLACES`` at a time: the lists of all objects at once are more than a process should hold. Waiting
for a metrics server needs no place, so one that hangs holds up only those who ask it.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final, Protocol

from pdscale.api import translate
from pdscale.api.v1alpha1 import ServingDeployment
from pdscale.controller import report, room, targets
from pdscale.controller.children import Children
from pdscale.controller.conditions import Outcome
from pdscale.controller.election import Tenure
from pdscale.controller.looks import Look
from pdscale.controller.memory import Memory
from pdscale.controller.observe import Observer, Workloads
from pdscale.controller.pulse import Pulse
from pdscale.controller.refusals import RETRY, TOLD, Told, next_try, refusal
from pdscale.controller.resizing import Case, Resizing
from pdscale.controller.rollout import SETTLED, staged
from pdscale.controller.snapshot import Snapshot
from pdscale.controller.stored import Gone, Stored
from pdscale.controller.telling import Telling
from pdscale.controller.trades import obstacle
from pdscale.kube.changes import Changes, Mark
from pdscale.kube.client import Kube, Object
from pdscale.kube.errors import Forbidden, KubeError, Terminating
from pdscale.kube.events import Recorder
from pdscale.kube.manifests import child_name
from pdscale.kube.status import Condition
from pdscale.model.pools import Role
from pdscale.model.units import Seconds
from pdscale.model.workload import NoData
from pdscale.perf.profile import Profile
from pdscale.scaling.autoscaler import Autoscaler
from pdscale.scaling.history import History, PackedHistory
from pdscale.telemetry import Metrics

PLACES: Final = 16

_log = logging.getLogger("pdscale.loop")


class Render(Protocol):
    """All children of a deployment, complete but for the replicas of its pools; may raise ``InvalidSpec``."""

    def __call__(
        self,
        deployment: ServingDeployment,
        *,
        profile: Profile,
        live: Mapping[str, Object],
        observed_pause: Seconds | None,
    ) -> Sequence[Object]: ...


@dataclass(slots=True)
class Loop:
    """The control loop of all objects; one call of ``tick`` per object at a time."""

    kube: Kube
    observer: Observer
    changes: Changes
    resizing: Resizing
    stored: Stored
    telling: Telling
    render: Render
    autoscaler: Callable[[], Autoscaler]
    recorder: Recorder
    metrics: Metrics
    pulse: Pulse
    clock: Callable[[], Seconds]
    tenure: Tenure | None = None
    _memories: dict[str, Memory] = field(default_factory=dict)
    _forbidden: set[str] = field(default_factory=set)
    _makers: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(PLACES))
    _resizers: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(PLACES))

    async def tick(self, seen: Snapshot) -> Seconds:
        """Bring one object a step closer to its spec; seconds until the next look."""
        result, next_in = "error", RETRY
        seen = self.stored.caught_up(seen)
        try:
            with self.metrics.tick_seconds.time():
                result, next_in = await self._judged(seen)
            return next_in
        finally:  # a bug that one object brings to light is no reason to restart the process for all
            self.metrics.ticks.labels(result).inc()
            self.pulse.beat(str(seen), next_in=next_in)

    def forget(self, seen: Snapshot) -> None:
        """The object is gone, or somebody else's from now on."""
        self._memories.pop(seen.uid, None)
        self._forbidden.discard(seen.uid)
        self.stored.forget(seen)
        self.metrics.forget(seen.namespace, seen.name)
        self.pulse.forget(str(seen))
        self.resizing.forget(seen)

    async def _judged(self, seen: Snapshot) -> tuple[str, Seconds]:
        """A tick's result and next delay. Expected failures end here, as a condition or a log line."""
        try:
            try:
                seen = await self.stored.read_again(seen)
                next_in = await self._tick(seen)
                self._forbidden.discard(seen.uid)
                return "ok", next_in
            except TOLD as error:
                if isinstance(error, Forbidden) and not self._forbidden_again(seen):
                    raise
                return await self._refused(seen, error)
        except Gone:
            return "gone", RETRY  # kopf will hear of it, or end its watch and list
        except Terminating as error:
            _log.debug("%s: nothing left to do: %s", seen, error)
            return "terminating", RETRY
        except KubeError as error:
            next_in = next_try(error)
            _log.warning("%s: not done, next try in %gs: %s", seen, next_in, error)
            return "api_error", next_in

    async def _tick(self, seen: Snapshot) -> Seconds:
        wanted = translate.read(seen.body)
        policy = translate.policy(wanted.spec, await self.observer.profile(wanted))
        memory, mark = self._memory(seen), self.changes.mark(seen.namespace, seen.name)
        observer = self.observer.in_a_tick(wanted, former=self._former(seen, memory, mark, policy.interval))
        case = Case(seen, wanted, policy, memory, observer, SETTLED)
        self.pulse.allow(str(seen), observer.patience)
        async with self._makers:
            case = await self._ensured(case)
        past = _waiting(await observer.history(wanted, policy, self.clock()))
        async with self._resizers:
            step = await self.resizing.step(case, past if isinstance(past, NoData) else past.unpacked())
            self.telling.of(seen, case.memory, step.outcome)
            await self._report(seen, step.found, step.outcome)
            if step.at_rest is None or mark is None:
                memory.look = None
            elif not observer.looks_back:
                memory.look = Look.of(step.at_rest, seen, mark, self.clock())
        return step.next_in

    def _former(
        self, seen: Snapshot, memory: Memory, mark: Mark | None, interval: Seconds
    ) -> Workloads | None:
        """A former look, if it is as good as a new one."""
        if memory.look is None:
            return None
        return memory.look.again(seen, mark, now=self.clock(), interval=interval)

    async def _ensured(self, case: Case) -> Case:
        """Bring the children about. No metrics server is asked before they are there."""
        wanted, policy, memory, name = case.wanted, case.policy, case.memory, case.name
        deployments = await case.observer.deployments(wanted.metadata.namespace, name)
        targets.refuse_own_pools(wanted, deployments)
        ours = [role for role in Role if wanted.spec.pool(role).scale_target_ref is None]
        if any(child_name(name, role) not in deployments for role in ours):
            await self._room(case)
        render = partial(
            self.render, wanted, profile=policy.profile, live=deployments, observed_pause=memory.pause
        )
        drafts = memory.drafts.of(wanted, policy.profile, deployments, memory.pause, render)
        applied, rolled = staged(drafts, deployments, name)
        changed = await memory.children.ensure(
            applied,
            render=render,
            deployments=deployments,
            seeds={role: policy.bounds(role).least for role in Role},
            now=self.clock(),
        )
        if changed:
            case.observer.look_anew()
        else:
            case.observer.keep(deployments)
        bar = obstacle(wanted, policy, drafts, rolled)
        return replace(case, rolled=rolled, bar=bar or self.resizing.flips.refused(wanted, self.clock()))

    async def _room(self, case: Case) -> None:
        """Whether the smallest pools fit, before any of them is made; raises where they do not."""
        workloads = await self.observer.workloads(case.wanted)
        room.check(workloads, case.name, case.policy)
        pools = workloads.pools(case.name)
        share = await self.resizing.budgets.share(case.seen, case.wanted, case.policy, pools)
        room.check_share(share, case.policy)

    async def _refused(self, seen: Snapshot, error: Told) -> tuple[str, Seconds]:
        """Nothing was changed; say why."""
        said = refusal(error)
        first, memory = said.found[0], self._memories.get(seen.uid)
        if memory is None or memory.last_plan != first.message:
            _log.warning("%s: %s: %s", seen, first.reason, first.message)
        if memory is not None:
            memory.last_plan = first.message
        await self._report(seen, said.found, None)
        return said.result, said.next_in

    async def _report(self, seen: Snapshot, found: Sequence[Condition], outcome: Outcome | None) -> None:
        now = self.clock()
        self.metrics.conditions(seen.namespace, seen.name, {c.type: c.holds for c in found})
        writer = None if self.tenure is None else self.tenure.writer
        whole = report.status(seen.status, found, outcome, generation=seen.generation, now=now, writer=writer)
        self.resizing.board.reported(seen, whole)
        if not await self.stored.tell(seen, whole):
            return  # deleted meanwhile: kopf stops the daemon
        for event in report.events(seen.status, found, outcome):
            await self.recorder.record(seen.subject, event, now=now)

    def _forbidden_again(self, seen: Snapshot) -> bool:
        """Once is no news: an API server that has just started refuses until it has read its roles."""
        again = seen.uid in self._forbidden
        self._forbidden.add(seen.uid)
        return again

    def _memory(self, seen: Snapshot) -> Memory:
        if seen.uid not in self._memories:
            self._memories[seen.uid] = Memory(Children(self.kube, seen.uid), self.autoscaler())
        return self._memories[seen.uid]


def _waiting(past: History | NoData) -> PackedHistory | NoData:
    return past if isinstance(past, NoData) else past.packed()

"""One tick: look at the whole state, decide, write what differs, say so.

Every tick starts from what is stored and is safe to repeat: a process that dies anywhere in it loses nothing
but the waiting time of the scale-down window, which starts anew and never shorter. What goes wrong in
expected ways becomes a condition; anything else may fly to kopf, which calls again.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from pdscale.api import translate
from pdscale.api.v1alpha1 import GROUP, PLURAL, VERSION, ServingDeployment
from pdscale.controller import conditions, report, room
from pdscale.controller.children import Children, NameTaken
from pdscale.controller.conditions import Outcome
from pdscale.controller.election import Tenure
from pdscale.controller.observe import Observer, Workloads
from pdscale.controller.pulse import Pulse
from pdscale.controller.ruling import rule
from pdscale.controller.snapshot import Snapshot
from pdscale.kube.client import Kube, Object, collection
from pdscale.kube.errors import Forbidden, Invalid, KubeError, NotFound, Terminating
from pdscale.kube.events import Recorder
from pdscale.kube.manifests import child_name
from pdscale.kube.scale import Owned, ScaleWrite, after, send, take, writes
from pdscale.kube.status import Condition, difference
from pdscale.model.pools import Role, Targets
from pdscale.model.units import Seconds
from pdscale.perf.profile import Profile
from pdscale.scaling.autoscaler import Autoscaler, Observation
from pdscale.scaling.policy import Policy
from pdscale.telemetry import Metrics

SETTLING: Final[Seconds] = 5.0  # while pods come and go, look again soon: freed GPUs are wanted elsewhere
WAITING_FOR_USER: Final[Seconds] = 60.0  # an edit of the spec wakes the daemon at once
RETRY: Final[Seconds] = 10.0

_log = logging.getLogger("pdscale.loop")


class Render(Protocol):
    """All children of a deployment, complete but for the replicas of its pools; may raise ``InvalidSpec``."""

    def __call__(self, deployment: ServingDeployment, *, profile: Profile) -> Sequence[Object]: ...


@dataclass(slots=True)
class _Memory:
    """What one object's ticks share. A restart starts anew, and every part of it bears that."""

    children: Children
    autoscaler: Autoscaler
    last_plan: str = ""


@dataclass(slots=True)
class Loop:
    """The control loop of all objects; one call of ``tick`` per object at a time."""

    kube: Kube
    observer: Observer
    render: Render
    autoscaler: Callable[[], Autoscaler]
    recorder: Recorder
    metrics: Metrics
    pulse: Pulse
    clock: Callable[[], Seconds]
    tenure: Tenure | None = None
    _memories: dict[str, _Memory] = field(default_factory=dict)
    _forbidden: set[str] = field(default_factory=set)
    _answers: dict[str, Object] = field(default_factory=dict)

    async def tick(self, seen: Snapshot) -> Seconds:
        """Bring one object a step closer to its spec; seconds until the next look."""
        result, next_in = "error", RETRY
        seen = self._caught_up(seen)
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
        self._answers.pop(seen.uid, None)
        self.metrics.forget(seen.namespace, seen.name)
        self.pulse.forget(str(seen))

    async def _judged(self, seen: Snapshot) -> tuple[str, Seconds]:
        """A tick's result and next delay. Expected failures end here, as a condition or a log line."""
        try:
            try:
                next_in = await self._tick(seen)
                self._forbidden.discard(seen.uid)
                return "ok", next_in
            except translate.InvalidSpec as error:
                await self._stopped(seen, conditions.invalid(str(error)))
                return "invalid_spec", WAITING_FOR_USER
            except room.NoRoomYet as error:
                await self._stopped(seen, conditions.blocked("WaitingForGPUs", str(error)))
                return "blocked", SETTLING
            except NameTaken as error:
                await self._stopped(seen, conditions.blocked("NameTaken", str(error)))
                return "blocked", RETRY
            except Invalid as error:
                await self._stopped(seen, conditions.blocked("ApiRefusedInvalid", str(error)))
                return "blocked", RETRY
            except Forbidden as error:
                if self._forbidden_again(seen):
                    await self._stopped(seen, conditions.blocked("ApiRefusedForbidden", str(error)))
                    return "blocked", RETRY
                raise
        except Terminating as error:
            _log.debug("%s: nothing left to do: %s", seen, error)
            return "terminating", RETRY
        except KubeError as error:
            _log.warning("%s: not done, next try in %gs: %s", seen, RETRY, error)
            return "api_error", RETRY

    async def _tick(self, seen: Snapshot) -> Seconds:
        wanted = translate.read(seen.body)
        policy = translate.policy(wanted.spec, await self.observer.profile(wanted))
        memory = self._memory(seen)
        await self._ensure(memory, wanted, policy)
        workloads, observation = await self._observe(wanted, policy)
        decision = await asyncio.to_thread(memory.autoscaler.decide, policy, observation, self.clock())
        ruling = rule(seen, wanted.spec.scaling, policy, observation, decision, now=self.clock())
        if ruling.takes:
            await self._take(wanted, observation.current)
        written, refused = await self._scale(wanted, observation, ruling.apply)
        routers = workloads.routers_ready(wanted.metadata.name)
        outcome = Outcome(policy, observation, decision, ruling, routers, written, refused)
        self._measure(seen, outcome)
        self._tell(seen, memory, outcome)
        found = conditions.conditions(outcome)
        await self._report(seen, found, outcome)
        aim = decision.wanted if ruling.apply is not None else observation.current
        settling = found[0].holds is False or aim != after(observation.current, written)
        return min(policy.interval, SETTLING) if settling else policy.interval

    async def _ensure(self, memory: _Memory, wanted: ServingDeployment, policy: Policy) -> None:
        namespace, name = wanted.metadata.namespace, wanted.metadata.name
        deployments = await self.observer.deployments(namespace, name)
        if any(child_name(name, role) not in deployments for role in Role):
            room.check(await self.observer.workloads(namespace, name), name, policy)
        await memory.children.ensure(
            self.render(wanted, profile=policy.profile),
            deployments=deployments,
            seeds={role: policy.bounds(role).least for role in Role},
            now=self.clock(),
        )

    async def _observe(self, wanted: ServingDeployment, policy: Policy) -> tuple[Workloads, Observation]:
        """The past first: it may take seconds, and the budget must be judged on the pods of this moment."""
        past = await self.observer.history(wanted, policy, self.clock())
        name = wanted.metadata.name
        workloads = await self.observer.workloads(wanted.metadata.namespace, name)
        pools = {role: workloads.pool(child_name(name, role), role) for role in Role}
        return workloads, Observation(prefill=pools[Role.PREFILL], decode=pools[Role.DECODE], history=past)

    async def _take(self, wanted: ServingDeployment, current: Targets) -> None:
        for role in Role:
            name = child_name(wanted.metadata.name, role)
            await take(self.kube, wanted.metadata.namespace, name, current.of(role))

    async def _scale(
        self, wanted: ServingDeployment, observation: Observation, apply: Targets | None
    ) -> tuple[tuple[ScaleWrite, ...], tuple[Owned, ...]]:
        """What was written and what others refused. A pool that does not exist yet is not written to."""
        if apply is None:
            return (), ()
        written, refused = [], []
        for write in writes(observation.current, apply):
            name = child_name(wanted.metadata.name, write.role)
            owned = await send(self.kube, write, namespace=wanted.metadata.namespace, deployment=name)
            result = "written" if owned is None else "refused"
            self.metrics.scale_writes.labels(write.role, write.direction, result).inc()
            if owned is None:
                written.append(write)
            else:
                refused.append(owned)
        return tuple(written), tuple(refused)

    async def _stopped(self, seen: Snapshot, found: Sequence[Condition]) -> None:
        """Nothing was changed; say why."""
        memory = self._memories.get(seen.uid)
        if memory is None or memory.last_plan != found[0].message:
            _log.warning("%s: %s: %s", seen, found[0].reason, found[0].message)
        if memory is not None:
            memory.last_plan = found[0].message
        await self._report(seen, found, None)

    async def _report(self, seen: Snapshot, found: Sequence[Condition], outcome: Outcome | None) -> None:
        now = self.clock()
        writer = None if self.tenure is None else self.tenure.writer
        whole = report.status(seen.status, found, outcome, generation=seen.generation, now=now, writer=writer)
        patch = difference(seen.status, whole)
        if patch:
            path = collection(f"{GROUP}/{VERSION}", PLURAL, seen.namespace, seen.name)
            try:
                answer = await self.kube.merge(f"{path}/status", {"status": patch})
            except NotFound:
                return  # deleted meanwhile: kopf stops the daemon
            self._answers[seen.uid] = answer
        for event in report.events(seen.status, found, outcome):
            await self.recorder.record(seen.subject, event, now=now)

    def _caught_up(self, seen: Snapshot) -> Snapshot:
        """The object as we left it, while the watch is behind: an older view would undo our own status."""
        answer = self._answers.get(seen.uid)
        left = seen if answer is None else Snapshot(answer)
        return left if left.version > seen.version else seen

    def _forbidden_again(self, seen: Snapshot) -> bool:
        """Once is no news: an API server that has just started refuses until it has read its roles."""
        again = seen.uid in self._forbidden
        self._forbidden.add(seen.uid)
        return again

    def _memory(self, seen: Snapshot) -> _Memory:
        if seen.uid not in self._memories:
            self._memories[seen.uid] = _Memory(Children(self.kube, seen.uid), self.autoscaler())
        return self._memories[seen.uid]

    def _measure(self, seen: Snapshot, outcome: Outcome) -> None:
        decision = outcome.decision
        current, desired = outcome.observation.current, decision.wanted
        self.metrics.replicas(seen.namespace, seen.name, current=current, desired=desired)
        self.metrics.forecast(seen.namespace, seen.name, getattr(decision.forecast, "value", None))
        for step in decision.plan.steps:
            self.metrics.decisions.labels(step.reason).inc()

    def _tell(self, seen: Snapshot, memory: _Memory, outcome: Outcome) -> None:
        """One line per plan; at info only when it leads somewhere else than the one before."""
        plan = outcome.decision.plan
        outline = " ".join(f"{step.reason}:{step.targets}" for step in plan.steps)
        news = bool(outcome.written or outcome.refused) or outline != memory.last_plan
        memory.last_plan = outline
        _log.log(
            logging.INFO if news else logging.DEBUG,
            "%s: %s, wants %s: %s",
            seen,
            outcome.observation.current,
            outcome.decision.wanted,
            plan.trail or "nothing to change",
        )
        if outcome.ruling.proposal is not None and news:
            _log.info("%s: proposal %s", seen, outcome.ruling.proposal.id)
        for refusal in outcome.refused:
            _log.warning("%s: %s refused: %s", seen, refusal.write, refusal.message)

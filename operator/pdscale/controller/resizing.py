"""From a look at the pools to the writes that bring them a step closer to the plan.

What was asked of the metrics server comes as an argument: it may take seconds, and the budget must be judged
on the pods of this moment.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from pdscale.api.v1alpha1 import ServingDeployment
from pdscale.controller import conditions, gating, targets
from pdscale.controller.conditions import NO_FLIPS, Outcome
from pdscale.controller.conflicts import Conflicts
from pdscale.controller.flip_course import Flipped
from pdscale.controller.flipping import Flips
from pdscale.controller.memory import Memory
from pdscale.controller.observe import TickObserver, Workloads
from pdscale.controller.pauses import kept
from pdscale.controller.refusals import SETTLING
from pdscale.controller.rollout import Rollout
from pdscale.controller.ruling import Ruling, rule
from pdscale.controller.scales import Scales
from pdscale.controller.sharing import SharedBudgets
from pdscale.controller.snapshot import Snapshot
from pdscale.controller.trades import Obstacle
from pdscale.controller.view.board import Board
from pdscale.kube.client import Kube
from pdscale.kube.manifests import child_name
from pdscale.kube.scale import after
from pdscale.kube.status import Condition
from pdscale.model.pools import Role
from pdscale.model.units import Seconds
from pdscale.model.workload import NoData
from pdscale.scaling.autoscaler import Decision, Observation
from pdscale.scaling.history import History
from pdscale.scaling.policy import Policy


@dataclass(frozen=True, slots=True)
class Case:
    """One object in one tick. ``bar`` is why no replica may change its role, ``rolled`` the roll-out."""

    seen: Snapshot
    wanted: ServingDeployment
    policy: Policy
    memory: Memory
    observer: TickObserver
    rolled: Rollout
    bar: Obstacle | None = None

    @property
    def name(self) -> str:
        return self.wanted.metadata.name


@dataclass(frozen=True, slots=True)
class Step:
    """What was done, what to tell of it, and seconds until the next tick.

    ``at_rest`` is what was seen where nothing is to be written and nobody comes or goes.
    """

    outcome: Outcome
    found: Sequence[Condition]
    next_in: Seconds
    at_rest: Workloads | None = None


@dataclass(slots=True)
class Resizing:
    """The second half of a tick, for all objects."""

    kube: Kube
    flips: Flips
    scales: Scales
    conflicts: Conflicts
    budgets: SharedBudgets
    board: Board
    clock: Callable[[], Seconds]

    async def step(self, case: Case, past: History | NoData) -> Step:
        seen, wanted, memory, observer = case.seen, case.wanted, case.memory, case.observer
        own = case.policy if case.bar is None else replace(case.policy, flip=None)
        workloads, observation, resumed = await self._observe(case, past)
        pools = workloads.pools(case.name)
        share = await self.budgets.share(seen, wanted, own, pools)
        policy = own if share is None else share.within(own)
        gated = await gating.lift(self.kube, workloads, case.name, policy)
        decision = await asyncio.to_thread(memory.autoscaler.decide, policy, observation, self.clock())
        ruling = await self._ruled(case, policy, observation, decision)
        if observer.looks_back and ruling.apply not in (None, observation.current):
            observer.look_anew()
            return await self.step(case, past)
        drain, flipped = await self.flips.towards(
            observer,
            wanted,
            policy,
            workloads,
            observation.current,
            ruling.apply,
            now=self.clock(),
            owned_elsewhere=memory.owned_elsewhere,
            resumed=resumed,
        )
        written, refused = await self.scales.write(
            wanted, workloads, observation.current, drain.apply, takes=ruling.takes
        )
        written, refused = (*flipped.written, *written), (*flipped.refused, *refused)
        memory.owned_elsewhere = frozenset(r.write.role for r in refused if r.owners)
        # Last, for templates that the next tick makes: nothing of this one waits for them.
        memory.pause = await memory.pauses.look(observer, wanted, self.clock())
        await self.board.look(observer, wanted, seen)
        share = self.budgets.settle(
            seen, share, own, pools, after=after(observation.current, written), demand=decision.demand
        )
        outcome = Outcome(
            own,
            observation,
            decision,
            ruling,
            workloads.routers_ready(case.name),
            wanted.spec.router.replicas,
            workloads.targets,
            written,
            refused,
            source=observer.server_of(wanted),
            draining=drain.going,
            overdue=drain.overdue,
            kept=kept(workloads.deployments.get(child_name(case.name, Role.DECODE)), memory.pause),
            rollout=case.rolled,
            flip=flipped.flip,
            share=share,
            bar=case.bar if wanted.spec.scaling.role_flip == "Enabled" else NO_FLIPS,
        )
        self.board.saw(seen, outcome, workloads)
        found = conditions.conditions(outcome)
        moves = bool(gated or resumed or flipped.flip or any(drain.going.values()))
        return Step(
            outcome,
            found,
            _next_in(outcome, found, gated=gated),
            at_rest=None if moves or not _at_rest(outcome, found) else workloads,
        )

    def forget(self, seen: Snapshot) -> None:
        self.flips.forget(seen.uid)
        self.board.forget(seen)
        self.budgets.forget(seen)

    async def _observe(
        self, case: Case, past: History | NoData
    ) -> tuple[Workloads, Observation, Flipped | None]:
        workloads = await case.observer.workloads(case.wanted)
        resumed = await self.flips.resume(case.wanted, workloads, self.clock())
        if resumed is not None:
            workloads = await case.observer.workloads(case.wanted)
        targets.check_gpus(case.wanted, workloads)
        pools = workloads.pools(case.name)
        seen = Observation(prefill=pools[Role.PREFILL], decode=pools[Role.DECODE], history=past)
        return workloads, seen, resumed

    async def _ruled(
        self, case: Case, policy: Policy, observation: Observation, decision: Decision
    ) -> Ruling:
        shared = await self.conflicts.over(case.seen, case.wanted)
        return rule(
            case.seen,
            case.wanted.spec.scaling,
            policy,
            observation,
            decision,
            now=self.clock(),
            shared=shared,
        )


def _settling(outcome: Outcome, found: Sequence[Condition]) -> bool:
    current, decision = outcome.observation.current, outcome.decision
    aim = decision.wanted if outcome.ruling.apply is not None else current
    return found[0].holds is False or aim != after(current, outcome.written) or not outcome.rollout.over


def _at_rest(outcome: Outcome, found: Sequence[Condition]) -> bool:
    """Nothing is written, and no pod is on its way. Pools of others are read as they are."""
    pools = (outcome.observation.prefill, outcome.observation.decode)
    all_there = all(p.ready == p.desired and not p.terminating for p in pools)
    touched = outcome.written or outcome.refused or outcome.targets
    return all_there and not touched and not _settling(outcome, found)


def _next_in(outcome: Outcome, found: Sequence[Condition], *, gated: int) -> Seconds:
    settling = _settling(outcome, found)
    soon = gating.LOOK_AGAIN if gated else SETTLING if settling else outcome.policy.interval
    return min(outcome.policy.interval, soon)

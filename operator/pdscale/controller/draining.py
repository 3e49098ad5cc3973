"""Carries out the drain contract of ``victims``: asks, marks, and says how far the scales may go.

Only a pool that has more replicas than it should, or marks from before, is asked about: a settled object
costs nothing. What was marked is read from the pods each time, so a restart goes on where it was.
"""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pdscale.api.v1alpha1 import ServingDeployment
from pdscale.controller import replica_figures
from pdscale.controller.conditions import NOBODY
from pdscale.controller.observe import Asks, Workloads
from pdscale.controller.victims import Figures, Shrinking, shrinking
from pdscale.kube.client import Kube
from pdscale.kube.marks import Replica, replica, take_mark_off, write_mark
from pdscale.kube.pools import overdue
from pdscale.model.pools import Role, Targets
from pdscale.model.units import Seconds, parse_duration
from pdscale.model.workload import NoData

_log = logging.getLogger("pdscale.drain")


@dataclass(frozen=True, slots=True)
class Drain:
    """``apply`` is what may be written to the scales now; ``going`` names, by role, the ready replicas that
    take no new session once this tick's marks are on them, those that somebody else has marked included.

    ``overdue`` pods were deleted and have outlived their grace period. ``drained`` names those that have
    nothing to wait for and may change their role; ``unfit`` is how many of those that go cannot.
    """

    apply: Targets | None
    going: Mapping[Role, frozenset[str]] = field(default_factory=dict)
    overdue: int = 0
    drained: Mapping[Role, tuple[str, ...]] = field(default_factory=dict)
    unfit: Targets = NOBODY


@dataclass(frozen=True, slots=True)
class Drains:
    """Marks pods of all objects."""

    kube: Kube

    def as_they_are(self, workloads: Workloads, now: Seconds) -> Drain:
        """Nobody is marked or let off, and no scale is written."""
        pools = {role: _replicas(workloads, role) for role in Role}
        going = {role: frozenset(r.name for r in pools[role] if r.ready and r.mark.drains) for role in Role}
        return Drain(None, going, overdue=sum(overdue(workloads.of_role(role), now) for role in Role))

    async def towards(
        self,
        source: Asks,
        wanted: ServingDeployment,
        workloads: Workloads,
        current: Targets,
        apply: Targets | None,
        *,
        now: Seconds,
        owned_elsewhere: Collection[Role] = (),
        gives: Role | None = None,
    ) -> Drain:
        """``apply`` absent: nothing may be written to the scales, so nobody drains. ``gives``: the role whose
        replicas change theirs, so that one must be chosen even where none tells anything.

        Nor for a scale that somebody else owns: the replicas would wait for a write that is refused.
        """
        aim = apply or current
        pools = {role: _replicas(workloads, role) for role in Role}
        marks = any(r.mark.since is not None for pool in pools.values() for r in pool)
        surplus = any(len(pools[role]) > aim.of(role) for role in Role)
        standing = self.as_they_are(workloads, now)
        if not marks and not surplus:
            return replace(standing, apply=apply)
        figures = await _figures(source, wanted) if surplus else {}
        allowed, steps = {}, {}
        for role in Role:
            yields = role not in owned_elsewhere
            step = shrinking(
                pools[role],
                figures,
                desired=current.of(role),
                target=aim.of(role) if yields else max(aim.of(role), len(pools[role])),
                now=now,
                deadline=parse_duration(wanted.spec.router.drain_timeout),
                flips=role is gives,
            )
            await self._write(wanted, pools[role], step, now)
            allowed[role] = step.allowed if yields else aim.of(role)
            steps[role] = step
        return Drain(
            apply and Targets(allowed[Role.PREFILL], allowed[Role.DECODE]),
            going={role: _going(pools[role], steps[role].drains) for role in Role},
            overdue=standing.overdue,
            drained={role: steps[role].drained for role in Role},
            unfit=Targets(steps[Role.PREFILL].unfit, steps[Role.DECODE].unfit),
        )

    async def _write(
        self, wanted: ServingDeployment, pool: list[Replica], step: Shrinking, now: Seconds
    ) -> None:
        namespace, who = wanted.metadata.namespace, f"{wanted.metadata.namespace}/{wanted.metadata.name}"
        named = {r.name: r for r in pool}
        for name in step.unmark:
            await take_mark_off(self.kube, namespace, named[name])
            _log.info("%s: %s stays: its drain is undone", who, name)
        for name in step.mark:
            _log.info("%s: %s drains", who, name)
        for name, cost in step.costs:
            since = now if name in step.mark else None
            await write_mark(self.kube, namespace, named[name], since=since, cost=cost)


async def _figures(source: Asks, wanted: ServingDeployment) -> Figures:
    query = replica_figures.query(wanted.metadata.namespace, wanted.metadata.name)
    told = await source.instants(wanted, query, label=replica_figures.KEY)
    if isinstance(told, NoData):
        _log.debug("%s: victims are Kubernetes' choice: %s", wanted.metadata.name, told.reason)
        return {}
    return replica_figures.read(told)


def _going(pool: Sequence[Replica], ours: Collection[str] = ()) -> frozenset[str]:
    """Routers obey any mark, whoever set it."""
    return frozenset(ours) | {r.name for r in pool if r.ready and r.mark.foreign}


def _replicas(workloads: Workloads, role: Role) -> list[Replica]:
    return [found for pod in workloads.of_role(role) if (found := replica(pod)) is not None]

"""Which pod changes its role, and when: the first that has drained, while nobody else comes or goes.

One at a time. An engine that refuses leaves all as it was, and for ten minutes its object's pools are resized
the ordinary way.
"""

import logging
import math
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Final

from pdscale.api.v1alpha1 import ServingDeployment
from pdscale.controller.draining import Drain, Drains
from pdscale.controller.flip_course import PATIENCE, Course, Flipped, Switch
from pdscale.controller.observe import Asks, Workloads
from pdscale.controller.trades import Obstacle, Trade, held, last_flip, settled, trade
from pdscale.engines.errors import EngineSilent, RoleRefused
from pdscale.kube.client import Kube
from pdscale.kube.flips import Flip
from pdscale.kube.manifests import child_name
from pdscale.kube.pools import is_leaving, of_role, replicas
from pdscale.model.pools import Role, Targets
from pdscale.model.units import Seconds
from pdscale.scaling.policy import Policy

_log = logging.getLogger("pdscale.flip")
REFUSED_FOR: Final[Seconds] = 600.0


@dataclass(frozen=True, slots=True)
class Flips:
    """Changes roles of pods of all objects, and drains those that go.

    ``switch`` tells the engine at an address to take a role, if it has one of its own. ``patience`` is how
    long a tick waits for what ReplicaSets do between two steps. Which objects' engines have refused, and
    when, is in memory only: each process asks for itself.
    """

    kube: Kube
    drains: Drains
    switch: Switch
    patience: Seconds = PATIENCE
    _refusals: dict[str, tuple[Seconds, str]] = field(default_factory=dict)

    async def towards(
        self,
        source: Asks,
        wanted: ServingDeployment,
        policy: Policy,
        workloads: Workloads,
        current: Targets,
        apply: Targets | None,
        *,
        now: Seconds,
        owned_elsewhere: Collection[Role] = (),
        resumed: Flipped | None = None,
    ) -> tuple[Drain, Flipped]:
        """How far the scales may go now, and what changed its role: after that, the rest waits for a tick.

        ``resumed`` is what came of a flip that was under way when the tick began.
        """
        if resumed is not None and (resumed.waits or resumed.flip is not None):
            return self.drains.as_they_are(workloads, now), resumed
        possible = policy.flip is not None and apply is not None
        traded = trade(current, apply) if possible and apply is not None else None
        waits = traded is not None and (
            bool(owned_elsewhere) or held(workloads.deployments, wanted.metadata.name, traded.to, policy, now)
        )
        if traded is not None and apply is not None and waits:
            apply, traded = traded.undone(apply, owned_elsewhere=owned_elsewhere), None
        drain = await self.drains.towards(
            source,
            wanted,
            workloads,
            current,
            apply,
            now=now,
            owned_elsewhere=owned_elsewhere,
            gives=None if traded is None else traded.source,
        )
        if traded is None or apply is None or drain.apply is None:
            return drain, Flipped()
        flipped = await self._begin(wanted, workloads, traded, drain, now)
        if flipped is not None:
            return replace(drain, apply=None), flipped
        beside = traded.beside(apply, drain.apply, unfit=drain.unfit.of(traded.source))
        return replace(drain, apply=beside), Flipped()

    async def resume(self, wanted: ServingDeployment, workloads: Workloads, now: Seconds) -> Flipped | None:
        """Go on with what an earlier tick or another process has begun; None if nothing is under way."""
        flip = last_flip(workloads.deployments, wanted.metadata.name)
        if flip is None or flip.ended is not None:
            return None
        _log.info("%s: goes on with the flip of %s", wanted.metadata.name, flip)
        return await self._carry_out(
            Course(self.kube, wanted, workloads, flip, now, self.switch, self.patience)
        )

    def refused(self, wanted: ServingDeployment, now: Seconds) -> Obstacle | None:
        """Whether an engine of this object has refused lately, and its words."""
        at, why = self._refusals.get(wanted.metadata.uid, (-math.inf, ""))
        return Obstacle("EngineRefuses", why) if now - at < REFUSED_FOR else None

    def forget(self, uid: str) -> None:
        self._refusals.pop(uid, None)

    async def _carry_out(self, course: "Course") -> Flipped:
        try:
            return await course.run()
        except RoleRefused as error:
            self._refusals[course.wanted.metadata.uid] = course.now, str(error)
            _log.warning("%s: %s is undone: %s", course.wanted.metadata.name, course.flip, error)
            await course.note(None)
        except EngineSilent as error:  # the note stays, and the next tick asks again
            _log.warning("%s: %s waits: %s", course.wanted.metadata.name, course.flip, error)
        return Flipped()

    async def _begin(
        self, wanted: ServingDeployment, workloads: Workloads, trade: Trade, drain: Drain, now: Seconds
    ) -> Flipped | None:
        """Flip the first pod that has drained; None if there is none, or a pool does not stand still."""
        name, drained = wanted.metadata.name, drain.drained.get(trade.source, ())
        staying = {r: [p for p in of_role(workloads.pods, r) if not is_leaving(p)] for r in Role}
        if not drained or not settled(workloads.deployments, name, staying):
            return None
        pod = next(p for p in staying[trade.source] if p["metadata"]["name"] == drained[0])
        before = {role: replicas(workloads.deployments[child_name(name, role)]) for role in Role}
        flip = Flip(
            pod=pod["metadata"]["name"],
            uid=pod["metadata"]["uid"],
            to=trade.to,
            giving=before[trade.source] - 1,
            receiving=before[trade.to] + 1,
            began=now,
        )
        course = Course(self.kube, wanted, workloads, flip, now, self.switch, self.patience)
        await course.note(flip)
        return await self._carry_out(course)

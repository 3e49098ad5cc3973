"""All objects of this operator, for the page. Looking at it asks nobody anything.

One thing is asked for the page's sake: each replica's sessions, once a tick and only while somebody has
looked within the last minute. A settled object else costs its metrics server no such query.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pdscale.api.v1alpha1 import ServingDeployment
from pdscale.controller import replica_figures
from pdscale.controller.conditions import Outcome
from pdscale.controller.observe import Asks, Workloads
from pdscale.controller.snapshot import Snapshot
from pdscale.controller.view.sight import Sight
from pdscale.controller.view.state import Json, state, stored
from pdscale.model.units import Seconds
from pdscale.model.workload import NoData

LOOKED: Final[Seconds] = 60.0


@dataclass(slots=True)
class Board:
    """What ticks have seen, by object. ``leads`` says whether this process is the one that ticks."""

    clock: Callable[[], Seconds]
    leads: Callable[[], bool] = lambda: True
    _sights: dict[str, Sight] = field(default_factory=dict)
    _looked: Seconds = -math.inf

    async def look(self, source: Asks, wanted: ServingDeployment, seen: Snapshot) -> None:
        """Ask the replicas' figures of one object, if somebody is there to see them."""
        if self.clock() - self._looked > LOOKED:
            return
        query = replica_figures.query(wanted.metadata.namespace, wanted.metadata.name)
        told = await source.instants(wanted, query, label=replica_figures.KEY)
        self._sight(seen).figures = {} if isinstance(told, NoData) else replica_figures.read(told)

    def saw(self, seen: Snapshot, outcome: Outcome, workloads: Workloads) -> None:
        self._sight(seen).saw(outcome, workloads, self.clock())

    def reported(self, seen: Snapshot, status: Mapping[str, Any]) -> None:
        """The object with its new status, whether or not that differed from the old one."""
        self._sight(seen).body = {**seen.body, "status": status}

    def forget(self, seen: Snapshot) -> None:
        self._sights.pop(seen.uid, None)

    def state(self) -> Json:
        """The whole page as JSON; whoever asks counts as looking."""
        self._looked = self.clock()
        told = [stored(s.body, s.live()) for s in self._sights.values() if s.body]
        return state(told, source="operator", at=self._looked, leads=self.leads())

    def _sight(self, seen: Snapshot) -> Sight:
        return self._sights.setdefault(seen.uid, Sight())

"""What routers see of the fleet: endpoints with loads that are a little old.

Live, a load travels with every answer, and whoever has been silent for a second is asked. Here a replica's
figures are renewed when somebody looks and they are older than ``load_age``. The deciding replica's own are
always of this instant.
"""

from typing import Final

from pdscale.model.cluster import ClusterView, Endpoint, Load
from pdscale.model.units import Seconds
from pdscale.sim.decode import DecodeEngine
from pdscale.sim.fleet import Fleet, State
from pdscale.sim.prefill import PrefillEngine

# To look a member up in its class costs as much as a call.
_STARTING: Final = State.STARTING
_DRAINING: Final = State.DRAINING


class Sight:
    """One view for all routers, so that it is built once and not once for each."""

    __slots__ = ("_age", "_fleet", "_seen_at", "_view")

    def __init__(self, fleet: Fleet, *, load_age: Seconds) -> None:
        self._fleet, self._age = fleet, load_age
        self._view: ClusterView | None = None
        self._seen_at: Seconds = 0.0

    def stale(self) -> None:
        """Replicas have come or gone, which a watch tells at once."""
        self._view = None

    def view(self, now: Seconds) -> ClusterView:
        if self._view is None or now - self._seen_at > self._age:
            self._view, self._seen_at = self.fresh(now), now
        return self._view

    def fresh(self, now: Seconds) -> ClusterView:
        found = [
            Endpoint(r.name, "", r.role, True, r.state is _DRAINING, load_of(r.engine, now))
            for pool in (self._fleet.prefill, self._fleet.decode)
            for r in pool.values()
            if r.state is not _STARTING
        ]
        return ClusterView(tuple(found))


def load_of(engine: DecodeEngine | PrefillEngine, now: Seconds) -> Load:
    """What its sidecar would tell now. Resident tokens are as of the last event at the engine; whoever needs
    them to the step calls ``advance`` before."""
    if isinstance(engine, PrefillEngine):
        running, waiting, ttft = engine.running, engine.waiting, engine.ttft.mean(now)
        backlog = engine.admission.backlog(now)
        return Load(running, waiting, engine.queued_tokens, 0.0, 0.0, ttft, None, now, backlog)
    # By position, in the order of Load's fields, and without the engine's properties: this is done for every
    # round and, for all replicas, at every renewal.
    intake, streams, memory = engine.intake, engine.streams, engine.memory
    used = (memory.running + memory.reserved) / memory.capacity
    return Load(
        streams.batch + len(intake.prompts),
        len(intake.waiting) + len(intake.loading) + len(intake.loaded),
        intake.queued_tokens,
        streams.context,
        used if used < 1.0 else 1.0,
        None,
        engine.tally.itl.mean(now),
        now,
    )

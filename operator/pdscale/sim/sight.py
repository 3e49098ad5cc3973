"""What routers see of the fleet: endpoints with loads that are a little old.

Live, a load travels with every answer, and whoever has been silent for a second is asked. Here a replica's
figures are renewed when somebody looks and they are older than ``load_age``. The deciding replica's own are
always of this instant.
"""

from pdscale.model.cluster import ClusterView, Endpoint, Load
from pdscale.model.units import Seconds
from pdscale.sim.decode import DecodeEngine
from pdscale.sim.fleet import Fleet, State
from pdscale.sim.prefill import PrefillEngine


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
            Endpoint(
                r.name,
                "",
                r.role,
                ready=True,
                draining=r.state is State.DRAINING,
                load=load_of(r.engine, now),
            )
            for pool in (self._fleet.prefill, self._fleet.decode)
            for r in pool.values()
            if r.state is not State.STARTING
        ]
        return ClusterView(tuple(found))


def load_of(engine: DecodeEngine | PrefillEngine, now: Seconds) -> Load:
    """What its sidecar would tell now. Resident tokens are as of the last event at the engine; whoever needs
    them to the step calls ``advance`` before."""
    if isinstance(engine, PrefillEngine):
        return Load(
            running=engine.running,
            waiting=engine.waiting,
            queued_tokens=engine.queued_tokens,
            ttft=engine.ttft.mean(now),
            seen_at=now,
        )
    # By position, in the order of Load's fields: this is done for every round.
    streams, itl = engine.streams, engine.itl.mean(now)
    return Load(
        engine.running,
        engine.waiting,
        engine.queued_tokens,
        streams.context,
        engine.memory.usage,
        None,
        itl,
        now,
    )

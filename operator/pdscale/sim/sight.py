"""What routers see of the fleet: endpoints with loads that are a little old.

Live, a load travels with every answer, whoever has been silent for a second is asked, and before a round of
many new tokens is placed prefill replicas are asked (``placement.freshness``). Here all figures are renewed
when somebody looks and they are older than ``load_age``, and prefill replicas are asked by the live rule,
which takes no time. The deciding replica's own are always of this instant.
"""

from typing import Final

from pdscale.model.cluster import ClusterView, Endpoint, Load
from pdscale.model.units import Seconds, Tokens
from pdscale.placement.freshness import whom_to_ask
from pdscale.sim.decode import DecodeEngine
from pdscale.sim.fleet import AnyReplica, Fleet, State
from pdscale.sim.prefill import PrefillEngine

# To look a member up in its class costs as much as a call.
_STARTING: Final = State.STARTING
_DRAINING: Final = State.DRAINING


class Sight:
    """One view for all routers, so that it is built once and not once for each."""

    __slots__ = ("_age", "_asking", "_fleet", "_seen_at", "_view")

    def __init__(self, fleet: Fleet, *, load_age: Seconds, asking: bool) -> None:
        self._fleet, self._age, self._asking = fleet, load_age, asking
        self._view: ClusterView | None = None
        self._seen_at: Seconds = 0.0

    def stale(self) -> None:
        """Replicas have come or gone, which a watch tells at once."""
        self._view = None

    def view(self, now: Seconds) -> ClusterView:
        if self._view is None or now - self._seen_at > self._age:
            self._view, self._seen_at = self.fresh(now), now
        return self._view

    def asked(self, increment: Tokens, now: Seconds) -> ClusterView:
        """What is seen when a round of so many new tokens is placed."""
        view = self.view(now)
        whom = whom_to_ask(view, increment, now=now) if self._asking else ()
        if whom:
            replicas = self._fleet.prefill
            told = {e.name: prefill_load(replicas[e.name].engine, now) for e in whom}
            view = self._view = view.renewed(told)
        return view

    def fresh(self, now: Seconds) -> ClusterView:
        prefill, decode = self._fleet.prefill.values(), self._fleet.decode.values()
        here = [_endpoint(r, prefill_load(r.engine, now)) for r in prefill if r.state is not _STARTING]
        there = [_endpoint(r, decode_load(r.engine, now)) for r in decode if r.state is not _STARTING]
        return ClusterView((*here, *there))


def _endpoint(replica: AnyReplica, load: Load) -> Endpoint:
    return Endpoint(replica.name, "", replica.role, True, replica.state is _DRAINING, load)


# What a replica's sidecar would tell now. By position, in the order of Load's fields: four are made a round.


def prefill_load(engine: PrefillEngine, now: Seconds) -> Load:
    admission, ttft = engine.admission, engine.ttft.mean(now)
    running, waiting, queued = admission.admitted, engine.waiting, engine.queued_tokens
    return Load(running, waiting, queued, 0.0, 0.0, ttft, None, now, admission.backlog(now))


def decode_load(engine: DecodeEngine, now: Seconds) -> Load:
    """Resident tokens are as of the last event at the engine; whoever needs them to the step calls
    ``advance`` before. Without the engine's properties, each of which is a call."""
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

"""What the loss of a replica means to its rounds.

Streams are cut. Rounds of a lost decode replica that have no token yet are bound anew, as a front router
tries the next; legs of a lost prefill replica fall back to their decode replica, and so will rounds whose KV
has not been fetched yet.
"""

from pdscale.model.pools import Role
from pdscale.placement.exchange import ClientLeft, DecodeFailed, PrefillFailed
from pdscale.sim.agenda import Agenda
from pdscale.sim.course import Course
from pdscale.sim.decode import DecodeEngine
from pdscale.sim.dispatch import Dispatcher
from pdscale.sim.fleet import Fleet, Replica
from pdscale.sim.placing import Placing
from pdscale.sim.prefill import PrefillEngine
from pdscale.sim.records import Outcome
from pdscale.sim.scenario import Fault
from pdscale.sim.way import Way


class Failures:
    """Strikes as scheduled by a scenario's faults."""

    def __init__(
        self, agenda: Agenda, fleet: Fleet, *, placing: Placing, course: Course, dispatcher: Dispatcher
    ) -> None:
        self._agenda, self._fleet = agenda, fleet
        self._placing, self._course, self._dispatcher = placing, course, dispatcher

    def strike(self, fault: Fault) -> None:
        names = sorted(r.name for r in self._fleet.ready(fault.role))
        if not names:
            return
        name = names[fault.which % len(names)]
        if fault.role is Role.PREFILL:
            self._prefill_failed(self._fleet.prefill[name])
        else:
            self._decode_failed(self._fleet.decode[name])

    def _decode_failed(self, replica: Replica[DecodeEngine]) -> None:
        replica.engine.advance(self._agenda.now)
        replica.engine.fail()
        rounds = list(replica.rounds)
        replica.rounds.clear()
        self._fleet.failed(replica)
        for request in rounds:
            assert isinstance(request, Way)
            assert request.exchange is not None
            if request.prefill is not None:
                if request.leg is not None:
                    request.prefill.engine.cancel(request.leg)
                self._course.let_go(request, request.prefill)
            if request.first_token == request.first_token:
                request.exchange.feed(DecodeFailed())
                self._dispatcher.over(request, Outcome.CUT)
                continue
            request.exchange.feed(ClientLeft())
            self._placing.again(replica.name)
            self._dispatcher.dispatch(_anew(request))

    def _prefill_failed(self, replica: Replica[PrefillEngine]) -> None:
        lost = replica.engine.fail()
        replica.rounds.clear()
        self._fleet.failed(replica)
        for request in lost:
            assert isinstance(request, Way)
            request.prefill = request.leg = None
            self._course.feed(request, PrefillFailed())


def _anew(request: Way) -> Way:
    """The same round before anything was done for it, but for the work that is lost."""
    again = Way(
        request.index,
        request.session,
        prompt=request.prompt,
        output=request.output,
        arrived=request.arrived,
        limit=request.limit,
    )
    again.computed, again.moved = request.computed, request.moved
    return again

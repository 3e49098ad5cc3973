"""Clients: their rounds arrive, are placed and go their way, and are followed by the next one of the session.

The dispatcher is a round's beginning and its end. Who gets it says ``placing``; what happens in between is
``course``.
"""

from pdscale.model.units import Seconds
from pdscale.sim.agenda import CLIENT, Agenda
from pdscale.sim.course import Course
from pdscale.sim.fleet import Fleet
from pdscale.sim.meter import Meter
from pdscale.sim.placing import Placing
from pdscale.sim.records import Outcome, Result
from pdscale.sim.scenario import Scenario
from pdscale.sim.traffic import LAST, Traffic
from pdscale.sim.way import Way


class Dispatcher:
    """``arrive`` begins a round; ``over`` ends it and has the next one arrive after its wait."""

    meter: Meter | None = None

    def __init__(
        self,
        scenario: Scenario,
        traffic: Traffic,
        agenda: Agenda,
        result: Result,
        *,
        fleet: Fleet,
        placing: Placing,
        course: Course,
    ) -> None:
        self.open = 0  # rounds that have arrived and are not over
        self.left = len(traffic)  # rounds that are not over
        self._traffic, self._agenda, self._result = traffic, agenda, result
        self._fleet, self._placing, self._course = fleet, placing, course
        self._prefill_model = scenario.prefill.model
        self._longest = scenario.decode.kv_tokens
        self._ttft, self._stretch, self._overhead = (
            scenario.slo.ttft,
            scenario.ttft_stretch,
            scenario.overhead,
        )

    @property
    def unanswered(self) -> int:
        """Open rounds without a first token."""
        return self.open - self._course.answering

    def arrive(self, index: int) -> None:
        traffic, now = self._traffic, self._agenda.now
        self.open += 1
        self._result.arrived[index] = now
        prompt, output = traffic.prompt[index], traffic.output[index]
        limit = self._ttft_limit(index) if self._stretch else self._ttft
        self._result.limit[index] = limit
        if self.meter is not None:
            self.meter.arrived(prompt - traffic.history[index], now)
        request = Way(index, traffic.session[index], prompt=prompt, output=output, arrived=now, limit=limit)
        if prompt + output > self._longest:
            self.over(request, Outcome.TOO_LONG)
        elif self._overhead:
            self._agenda.at(now + self._overhead, CLIENT, self.dispatch, request)
        else:
            self.dispatch(request)

    def dispatch(self, request: Way) -> None:
        """Place it and send it on its way, or refuse it."""
        if self._placing.settle(request) is None:
            self._course.start(request)
        else:
            self.over(request, Outcome.REFUSED)

    def over(self, request: Way, outcome: Outcome) -> None:
        """Close it, and let its session go on after the wait."""
        now, index, traffic = self._agenda.now, request.index, self._traffic
        self.open -= 1
        self.left -= 1
        if request.first_token == request.first_token:
            self._course.answering -= 1
        self._result.close(request, outcome, now)
        following, replica = traffic.following[index], request.decode
        if replica is not None:
            self._placing.over(request)
            replica.rounds.pop(request, None)
            self._fleet.may_go(replica)
        if following != LAST:
            self._agenda.at(now + traffic.begins[following], CLIENT, self.arrive, following)

    def _ttft_limit(self, index: int) -> Seconds:
        history = self._traffic.history[index]
        new = self._traffic.prompt[index] - history
        return max(self._ttft, self._stretch * self._prefill_model.prefill_seconds(new, history))

"""One run: build everything from a scenario, let time pass until all is over, hand back the record."""

import gc
import math
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from pdscale.model.pools import Role
from pdscale.model.units import Seconds
from pdscale.perf.noise import Noise
from pdscale.placement.correction import Correction
from pdscale.sim.agenda import CONTROL, Agenda
from pdscale.sim.course import Course
from pdscale.sim.decode import DecodeEngine
from pdscale.sim.dispatch import Dispatcher
from pdscale.sim.failures import Failures
from pdscale.sim.fleet import Builders, Fleet, Replica
from pdscale.sim.meter import Meter
from pdscale.sim.paces import PaceReader
from pdscale.sim.placing import Placing
from pdscale.sim.prefill import PrefillEngine
from pdscale.sim.records import Result
from pdscale.sim.scaler import Scaler, Seen
from pdscale.sim.scenario import Scenario
from pdscale.sim.sight import Sight
from pdscale.sim.traffic import Traffic

Progress = Callable[[float], None]
_TELL_EVERY: Final = 1000  # sessions


def simulate(
    scenario: Scenario,
    traffic: Traffic,
    *,
    seed: int,
    until: Seconds = math.inf,
    progress: Progress | None = None,
) -> Result:
    """Run all rounds of the traffic, or those that get done by ``until``. ``progress`` hears the share of
    sessions that have started. The same arguments give the same result, bit for bit."""
    return Simulation(scenario, traffic, seed).run(until, progress)


@contextmanager
def _rarely_collecting() -> Iterator[None]:
    """Rounds form no cycles, so the collector that looks for them finds nothing in a tenth of the time."""
    before = gc.get_threshold()
    gc.set_threshold(100_000, 50, 50)
    try:
        yield
    finally:
        gc.set_threshold(*before)


class Simulation:
    """A run in the making. ``fleet`` may be looked at afterwards; it runs once."""

    def __init__(self, scenario: Scenario, traffic: Traffic, seed: int) -> None:
        self.scenario, self.traffic, self.agenda = scenario, traffic, Agenda()
        self.result = Result(traffic, seed)
        # Generators of their own: a policy that draws more must not change the engines' noise.
        self.noise_rng = random.Random(f"noise {seed}")
        self.course = Course(scenario, self.agenda, self.result)
        self.sight: Sight | None = None
        self.fleet = self.course.fleet = Fleet(
            scenario.fleet,
            self.agenda,
            self.result.fleet,
            Builders(self._prefill_replica, self._decode_replica),
            self._fleet_changed,
        )
        self.sight = Sight(self.fleet, load_age=scenario.load_age, asking=scenario.load_asking)
        placing = self._placing(self.sight, random.Random(f"policies {seed}"))
        self.dispatcher = Dispatcher(
            scenario, traffic, self.agenda, self.result, fleet=self.fleet, placing=placing, course=self.course
        )
        self.course.over = self.dispatcher.over
        failures = Failures(
            self.agenda, self.fleet, placing=placing, course=self.course, dispatcher=self.dispatcher
        )
        for fault in scenario.faults:
            self.agenda.at(fault.at, CONTROL, failures.strike, fault)
        if scenario.scaler is not None:
            self._scale_with(scenario.scaler())

    def _placing(self, sight: Sight, rng: random.Random) -> Placing:
        return Placing(
            self.scenario.bindings(),
            self.fleet,
            sight,
            traffic=self.traffic,
            agenda=self.agenda,
            result=self.result,
            transfers=self.course.transfers,
            rng=rng,
        )

    def run(self, until: Seconds = math.inf, progress: Progress | None = None) -> Result:
        with _rarely_collecting():
            self._pass_time(until, progress)
        return self.result

    def _pass_time(self, until: Seconds, progress: Progress | None) -> None:
        heads, begins = self.traffic.heads, self.traffic.begins
        run_until, arrive = self.agenda.run_until, self.dispatcher.arrive
        for number, index in enumerate(heads):
            if begins[index] > until:
                break
            run_until(begins[index])
            arrive(index)
            if progress is not None and number % _TELL_EVERY == 0:
                progress(number / len(heads))
        self._finish(until)
        if progress is not None:
            progress(1.0)

    def _finish(self, until: Seconds) -> None:
        """Everything that is still under way; what only watches the fleet ends with the last round."""
        agenda, dispatcher = self.agenda, self.dispatcher
        if until < math.inf:
            agenda.run_until(until)
        while until == math.inf and dispatcher.left and agenda:
            agenda.step()
        self.fleet.close()
        self.result.moved_tokens = self.course.transfers.tokens
        self.result.ended_at = agenda.now

    # -- replicas -----------------------------------------------------------------------------------------

    def _prefill_replica(self, name: str, number: int) -> Replica[PrefillEngine]:
        scenario, correction = self.scenario, Correction()
        engine = PrefillEngine(
            name,
            scenario.prefill,
            self.agenda,
            self.course,
            admission=scenario.admission(),
            seconds_of=scenario.gate_seconds or scenario.prefill.model.prefill_seconds,
            noise=Noise(scenario.prefill.noise, self.noise_rng),
        )
        return Replica(name, number, Role.PREFILL, engine, correction, scenario.placement(correction))

    def _decode_replica(self, name: str, number: int) -> Replica[DecodeEngine]:
        scenario, correction = self.scenario, Correction()
        engine = DecodeEngine(
            name,
            scenario.decode,
            self.agenda,
            self.course,
            tpot=scenario.slo.tpot,
            noise=Noise(scenario.decode.noise, self.noise_rng),
        )
        return Replica(name, number, Role.DECODE, engine, correction, scenario.placement(correction))

    def _fleet_changed(self) -> None:
        if self.sight is not None:
            self.sight.stale()

    # -- scaling ------------------------------------------------------------------------------------------

    def _scale_with(self, scaler: Scaler) -> None:
        decode, prefill, paces = self.fleet.decode, self.fleet.prefill, PaceReader(scaler.step)
        self.dispatcher.meter = self.course.meter = Meter(
            scaler.step,
            computed=self.fleet.computed,
            streams=self.fleet.streams,
            paces=lambda: paces.read(
                [r.engine for r in decode.values()], [r.engine for r in prefill.values()]
            ),
        )
        self.looked_at, self.busy_before = 0.0, dict[str, Seconds]()
        self.agenda.at(scaler.interval, CONTROL, self._scale, scaler)

    def _scale(self, scaler: Scaler) -> None:
        now = self.agenda.now
        for replica in self.fleet.decode.values():
            replica.engine.advance(now)
        targets = scaler.decide(self._seen(now), now)
        self.looked_at = now
        self.busy_before = {r.name: r.engine.busy for role in Role for r in self.fleet.of(role)}
        if targets is not None:
            self.fleet.resize(targets)
        if self.dispatcher.left:
            self.agenda.at(now + scaler.interval, CONTROL, self._scale, scaler)

    def _seen(self, now: Seconds) -> Seen:
        meter, sight = self.dispatcher.meter, self.sight
        assert meter is not None
        assert sight is not None
        return Seen(
            prefill=self.fleet.pool(Role.PREFILL),
            decode=self.fleet.pool(Role.DECODE),
            view=sight.fresh(now),
            busy={role: self._busy(role, now) for role in Role},
            rounds=self.dispatcher.open,
            unanswered=self.dispatcher.unanswered,
            past=lambda window: meter.past(window, now),
        )

    def _busy(self, role: Role, now: Seconds) -> float:
        """Mean over the ready replicas of their computing since the last look, or since they are ready."""
        shares = []
        for replica in self.fleet.ready(role):
            since = max(self.looked_at, replica.since)
            worked = replica.engine.busy - self.busy_before.get(replica.name, 0.0)
            if now > since:
                shares.append(min(1.0, worked / (now - since)))
        return math.fsum(shares) / len(shares) if shares else 0.0

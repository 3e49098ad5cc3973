"""A prefill replica: the live gate in front, iterations of a token budget behind.

The gate (`Admission`) lets few legs in and keeps the others in its order. A leg that needs its session's
history pulls it once it is in; legs that are complete but for computation share the budget in the order of
their readiness, a long prompt in chunks, as vLLM's scheduler does.
"""

from collections.abc import Callable
from typing import Protocol

from pdscale.model.units import Seconds, Tokens
from pdscale.perf.noise import Noise
from pdscale.placement.admission import Admission
from pdscale.placement.ordering import PrefillLeg
from pdscale.placement.policy import Busy
from pdscale.placement.window import SlidingMean
from pdscale.sim.agenda import ENGINE, Agenda
from pdscale.sim.limits import EngineSetup
from pdscale.sim.network import Nic
from pdscale.sim.request import Request


class Legs(Protocol):
    """Who wants to know what becomes of a prefill leg."""

    def pull(self, request: Request) -> bool:
        """Its leg was let in. Whether history has to come first; ``pulled`` when it is here."""
        ...

    def prefilled(self, request: Request) -> None:
        """Its KV is ready to be fetched."""
        ...


class _Job:
    """A leg on the engine: tokens that are there, and that will be; since when it is computed."""

    __slots__ = ("began", "done", "leg", "request", "target")

    def __init__(self, request: Request, leg: PrefillLeg, done: int, target: int) -> None:
        self.request, self.leg, self.done, self.target = request, leg, done, target
        self.began: Seconds | None = None


class PrefillEngine:
    """Offer a leg; ``Legs`` hears the rest. ``seconds_of`` is what the gate thinks of (new, history).

    ``completed`` legs took ``leg_seconds`` from their first iteration to the end of their last, of which
    there were ``last_passes``.
    """

    def __init__(
        self,
        name: str,
        engine: EngineSetup,
        agenda: Agenda,
        legs: Legs,
        *,
        admission: Admission,
        seconds_of: Callable[[Tokens, Tokens], Seconds],
        noise: Noise,
    ) -> None:
        self.name = name
        self.nic = Nic()
        self.admission = admission
        self.ttft = SlidingMean()
        self.queued_tokens = 0
        self.busy: Seconds = 0.0
        self.computed = 0
        self.completed = 0
        self.last_passes = 0
        self.leg_seconds: Seconds = 0.0
        self._model, self._budget = engine.model, engine.batched_tokens
        self._agenda, self._legs, self._seconds_of, self._noise = agenda, legs, seconds_of, noise
        self._noisy = noise.cv > 0
        self._jobs: dict[PrefillLeg, _Job] = {}  # all that are here, waiting ones included
        self._ready: list[_Job] = []
        self._chunks: list[tuple[_Job, int]] = []
        self._until: Seconds = 0.0
        self._version = 0

    @property
    def legs(self) -> int:
        """All that are here, those behind the gate included."""
        return len(self._jobs)

    def offer(self, request: Request, *, new: int, history: int) -> Busy | None:
        """Compute ``new`` tokens after ``history``; or why the gate refuses."""
        now = self._agenda.now
        leg = PrefillLeg(now, self._seconds_of(new, history), now + request.limit)
        busy = self.admission.offer(leg, now)
        if busy is not None:
            return busy
        request.leg = leg
        self._jobs[leg] = _Job(request, leg, history, history + new)
        self.queued_tokens += new
        self._let_in(now)
        return None

    def pulled(self, leg: PrefillLeg) -> None:
        """The history of a leg has arrived."""
        job = self._jobs.get(leg)
        if job is not None:
            self._ready.append(job)
            self._start()

    def cancel(self, leg: PrefillLeg) -> None:
        """Nobody waits for it any more; an iteration that has begun with it goes on."""
        job = self._jobs.pop(leg, None)
        if job is None:
            return
        self.queued_tokens -= job.target - job.done
        if job in self._ready:
            self._ready.remove(job)
        self.admission.ended(leg, self._agenda.now)
        self._let_in(self._agenda.now)

    def fail(self) -> list[Request]:
        """Everything that was here is lost; whose it was, in the order of arrival."""
        self._version += 1
        lost = [job.request for job in self._jobs.values()]
        self._jobs.clear()
        self._ready.clear()
        self._chunks.clear()
        self.queued_tokens = 0
        return lost

    @property
    def idle(self) -> bool:
        return not self._jobs

    @property
    def waiting(self) -> int:
        return len(self._jobs) - self.admission.admitted

    def _let_in(self, now: Seconds) -> None:
        while (leg := self.admission.next(now)) is not None:
            job = self._jobs[leg]
            if not self._legs.pull(job.request):
                self._ready.append(job)
        self._start()

    def _start(self) -> None:
        """The next iteration, if there is work and the last one has ended."""
        if self._chunks or not self._ready:
            return
        budget = self._budget
        for job in self._ready:
            tokens = min(job.target - job.done, budget)
            if job.began is None:
                job.began = self._agenda.now
            self._chunks.append((job, tokens))
            budget -= tokens
            if budget <= 0:
                break
        seconds = self._model.prefill_batch_seconds([(tokens, job.done) for job, tokens in self._chunks])
        if self._noisy:
            seconds *= self._noise.factor()
        self.busy += seconds
        self._version += 1
        self._until = self._agenda.now + seconds
        self._agenda.at(self._until, ENGINE, self._due, self._version)

    def _due(self, version: int) -> None:
        if version != self._version:
            return
        chunks, self._chunks = self._chunks, []
        complete: list[_Job] = []
        for job, tokens in chunks:
            self.computed += tokens
            job.request.computed += tokens
            if job.leg not in self._jobs:  # cancelled
                continue
            job.done += tokens
            self.queued_tokens -= tokens
            if job.done >= job.target:
                complete.append(job)
        self.last_passes += bool(complete)
        for job in complete:
            self._complete(job)
        self._let_in(self._until)

    def _complete(self, job: _Job) -> None:
        now = self._until
        del self._jobs[job.leg]
        self._ready.remove(job)
        self.admission.ended(job.leg, now)
        self.ttft.add(now - job.leg.arrived, now=now)
        self.completed += 1
        self.leg_seconds += now - (now if job.began is None else job.began)
        self._legs.prefilled(job.request)

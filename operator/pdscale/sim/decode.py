"""A decode replica: continuous batching, local prompts in chunks, everything else in jumps.

The engine's state stands at ``_at``, the end of the last iteration that is settled. An iteration that has
begun is settled, whatever comes during it, so a state may be looked at (``advance``) and joined a little
before its instant has come; only ends, whose consequences reach others, wait for their event.

    jump     no prompt is being computed: steps until an answer or the step line ends, or memory is full
    mixed    one iteration of prompt chunks and all streams
    idle     neither

Who is here and not decoding yet stands in ``Intake``, who is decoding in ``Streams``; this file is when what
happens. A colocated replica is a decode replica whose rounds are all local.
"""

from typing import Protocol

from pdscale.model.units import Seconds
from pdscale.perf.noise import Noise
from pdscale.sim.agenda import ENGINE, Agenda
from pdscale.sim.intake import Intake
from pdscale.sim.jumps import Jump
from pdscale.sim.limits import EngineSetup
from pdscale.sim.memory import KvMemory
from pdscale.sim.mixed import Mixed
from pdscale.sim.network import Nic
from pdscale.sim.request import Request
from pdscale.sim.streams import Streams
from pdscale.sim.tally import Tally


class Rounds(Protocol):
    """Who wants to know what becomes of a round."""

    def fetch(self, request: Request, at: Seconds) -> None:
        """From ``at`` on there is memory for KV that lies elsewhere; ``loaded`` when it is here."""
        ...

    def began(self, request: Request) -> None:
        """It has its first token."""
        ...

    def ended(self, request: Request, at: Seconds) -> None:
        """It has its last."""
        ...


class DecodeEngine:
    """Offer a round with ``take``; ``Rounds`` hears the rest."""

    def __init__(
        self, name: str, engine: EngineSetup, agenda: Agenda, rounds: Rounds, *, tpot: Seconds, noise: Noise
    ) -> None:
        self.name = name
        self.nic = Nic()
        self.memory = KvMemory(engine.kv_tokens)
        self.streams = Streams()
        self.intake = Intake(self.memory, self.streams, sequences=engine.sequences, fetch=rounds.fetch)
        self.tally = Tally()
        self.dead = False
        self._agenda, self._rounds, self._tpot = agenda, rounds, tpot
        self._jump, self._mixed = Jump(engine.model, noise), Mixed(engine, noise, tpot=tpot)
        self._at: Seconds = 0.0
        self._until: Seconds = 0.0  # the end of what is planned
        self._version = 0  # of the plan: events of older ones come in vain

    # -- what comes from outside --------------------------------------------------------------------------

    def take(self, request: Request) -> None:
        """Decode it as soon as its KV is here: fetched if it is computed elsewhere, else computed here."""
        self.intake.take(request)
        self._wake()

    def loaded(self, request: Request) -> None:
        """What ``Rounds.fetch`` was asked for has arrived."""
        if self.intake.arrived(request):
            self._wake()

    def recompute(self, request: Request) -> None:
        """What ``Rounds.fetch`` was asked for will never come: its prompt is computed here."""
        self.intake.never_comes(request)
        self._wake()

    def advance(self, now: Seconds) -> None:
        """Bring the state to the end of the iteration under way at ``now``."""
        jump = self._jump
        if jump.left and now > self._at:
            steps = jump.begun_within(now - self._at)
            if steps < jump.left:
                self._move(steps)

    def fail(self) -> list[Request]:
        """Everything that was here is lost; who was, streams first."""
        self._version += 1
        self.dead = True
        lost = [*self.streams.clear(), *self.intake.clear()]
        self._mixed.chunks.clear()
        self._jump.left = 0
        self.memory.forget_all()
        return lost

    # -- what can be seen of it ---------------------------------------------------------------------------

    @property
    def running(self) -> int:
        return self.streams.batch + len(self.intake.prompts)

    @property
    def waiting(self) -> int:
        intake = self.intake
        return len(intake.waiting) + len(intake.loading) + len(intake.loaded)

    @property
    def queued_tokens(self) -> int:
        return self.intake.queued_tokens

    @property
    def busy(self) -> Seconds:
        return self.tally.busy

    @property
    def computed(self) -> int:
        return self.tally.computed

    # -- time ---------------------------------------------------------------------------------------------

    def _wake(self) -> None:
        """Something wants in: at once if the engine is idle, else at the next boundary."""
        now, jump, intake = self._agenda.now, self._jump, self.intake
        if self._mixed.chunks:
            if now <= self._at:  # it has not begun, so who comes now takes part
                self._mixed.chunks.clear()
                self._plan()
            return
        if jump.left:
            self.advance(now)
            if self._at < now:  # the boundary is the jump's end, whose event comes
                return
            if intake.waiting:
                intake.admit(self._at)
            if not (intake.loaded or intake.prompts) and jump.left * self.streams.batch <= self.memory.free:
                return  # nobody joins yet, and what was planned still fits
        elif self._at < now:
            self._at = now
        self._plan()

    def _due(self, version: int) -> None:
        if version != self._version:
            return
        if self._mixed.chunks:
            self._end_mixed()
        else:
            self._move(self._jump.left)
            self._at = self._until
        for request in self.streams.pop_ended():
            self._end(request)
        self._plan()

    def _plan(self) -> None:
        """Decide at a boundary what comes next."""
        self._version += 1
        intake = self.intake
        if intake.waiting:
            intake.admit(self._at)
        if intake.loaded:
            while (request := intake.next_to_join()) is not None:
                self._join(request, request.target)
        if intake.prompts:
            self._plan_mixed()
        elif self.streams.batch:
            self._plan_jump()
        else:
            self._jump.left = 0

    def _plan_jump(self) -> None:
        seconds = self._jump.plan(self.streams, self.memory.free)
        if seconds is not None:
            self._schedule(seconds)
            return
        self._preempt()
        # Without admitting: whoever gave way would take its room back before a token is made of it.
        self._plan_jump() if self.streams.batch else self._plan()

    def _plan_mixed(self) -> None:
        streams, memory = self.streams, self.memory
        while streams.batch > memory.free:
            self._preempt()
        self._jump.left = 0
        self._schedule(self._mixed.plan(self.intake.prompts, batch=streams.batch, context=streams.context))

    def _schedule(self, seconds: Seconds) -> None:
        self._until = until = self._at + seconds
        self._agenda.at(until, ENGINE, self._due, self._version)

    # -- what has happened --------------------------------------------------------------------------------

    def _move(self, steps: int) -> None:
        """So many steps of the jump have passed."""
        tpot, first = self._tpot, self._jump.first
        seconds, slow = self._jump.take(steps, tpot)
        began = self.streams.advance(steps, slow, self._at + first, 1 if first > tpot else 0)
        self._at += seconds
        self._passed(seconds, steps, began)

    def _end_mixed(self) -> None:
        seconds = self._until - self._at
        slow = 1 if seconds > self._tpot else 0
        began = self.streams.advance(1, slow, self._until, slow)
        self._at = self._until
        self._passed(seconds, 1, began)
        for request, tokens in self._mixed.take():
            self.tally.computed += tokens
            if self.intake.computed(request, tokens):
                self._first_from_prompt(request)

    def _passed(self, seconds: Seconds, steps: int, began: list[Request]) -> None:
        """What every iteration leaves: time and tokens to count, memory that they fill, first tokens."""
        streams = self.streams
        self.tally.passed(seconds, steps, streams.batch, self._at)
        self.memory.grow_to(streams.context)
        for request in began:
            self._rounds.began(request)

    def _first_from_prompt(self, request: Request) -> None:
        """The iteration with the last chunk gives a token, like any other."""
        request.left -= 1
        self.tally.generated += 1
        if request.first_token == request.first_token:  # it was preempted in between
            request.slow += self._at - request.last_token > self._tpot
        else:
            request.first_token = self._at
            self._rounds.began(request)
        self._join(request, request.target + 1)

    def _join(self, request: Request, context: int) -> None:
        self.memory.release(request.held)
        request.held = 0
        self.streams.join(request, context)
        self.memory.running = self.streams.context

    def _preempt(self) -> None:
        """The youngest stream gives its KV up and computes it again, in front of all who wait."""
        request = self.streams.youngest
        context = self.streams.leave(request)
        self.memory.running = self.streams.context
        self.tally.preemptions += 1
        request.last_token = self._at
        self.intake.take_back(request, context)

    def _end(self, request: Request) -> None:
        context = self.streams.leave(request)
        self.memory.running = self.streams.context
        self.memory.keep(request.session, context - 1)
        self._rounds.ended(request, self._at)

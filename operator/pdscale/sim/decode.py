"""A decode replica: continuous batching, KV memory, local prompts in chunks, everything else in jumps.

The engine's state stands at ``_at``, the end of the last iteration that is settled. An iteration that has
begun is settled, whatever comes during it, so a state may be looked at (``advance``) and joined a little
before its instant has come; only ends, whose consequences reach others, wait for their event.

    jump     no prompt is being computed: steps until an answer or the step line ends, or memory is full
    mixed    one iteration of prompt chunks and all streams
    idle     neither

A colocated replica is a decode replica whose rounds are all local.
"""

from collections import deque
from typing import Final, Protocol

from pdscale.model.units import Seconds
from pdscale.perf.noise import Noise
from pdscale.placement.window import SlidingMean
from pdscale.sim.agenda import ENGINE, Agenda
from pdscale.sim.jumps import Lines, slow_steps, steps_to_reach, total_seconds
from pdscale.sim.limits import Chunking, EngineSetup, paced_chunk
from pdscale.sim.memory import KvMemory
from pdscale.sim.network import Nic
from pdscale.sim.request import Request
from pdscale.sim.streams import Streams

_TELL_EVERY: Final[Seconds] = 0.5


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
        self.itl = SlidingMean()  # of gaps, up to half a second late: its slots are a second
        self.queued_tokens = 0
        self.busy: Seconds = 0.0
        self.computed = 0
        self.generated = 0
        self.preemptions = 0
        self.dead = False
        self._engine, self._model = engine, engine.model
        self._lines = Lines(engine.model)
        self._sequences, self._budget = engine.sequences, engine.batched_tokens
        self._agenda, self._rounds, self._tpot = agenda, rounds, tpot
        self._noise, self._noisy = noise, noise.cv > 0
        self._waiting: deque[Request] = deque()  # for memory
        self._prompts: list[Request] = []  # being computed here
        self._loaded: deque[Request] = deque()  # KV complete, join at the next boundary
        self._loading: dict[Request, None] = {}  # KV on its way
        self._at: Seconds = 0.0
        self._until: Seconds = 0.0
        self._jump = 0  # steps that are left of it
        self._first: Seconds = 0.0
        self._growth: Seconds = 0.0
        self._mixed: list[tuple[Request, int]] = []
        self._version = 0
        self._gaps = 0  # between tokens, not yet in ``itl``
        self._gap_seconds: Seconds = 0.0
        self._told_at: Seconds = 0.0

    # -- what comes from outside --------------------------------------------------------------------------

    def take(self, request: Request) -> None:
        """Decode it as soon as its KV is here: fetched if it is computed elsewhere, else computed here."""
        if not request.pulls:
            self.queued_tokens += request.target - request.history
        self._waiting.append(request)
        self._wake()

    def loaded(self, request: Request) -> None:
        """What ``Rounds.fetch`` was asked for has arrived."""
        if self._loading.pop(request, request) is request:  # the replica has failed meanwhile
            return
        if request.pulls:
            self._loaded.append(request)
        else:
            request.done = request.history
            self._prompts.append(request)
        self._wake()

    def recompute(self, request: Request) -> None:
        """What ``Rounds.fetch`` was asked for will never come: its prompt is computed here."""
        del self._loading[request]
        request.pulls = False
        request.done = request.history
        self.queued_tokens += request.target - request.done
        self._prompts.append(request)
        self._wake()

    def advance(self, now: Seconds) -> None:
        """Bring the state to the end of the iteration under way at ``now``."""
        if self._jump and now > self._at:
            steps = steps_to_reach(now - self._at, self._first, self._growth)
            if steps < self._jump:
                self._move(steps)

    def fail(self) -> list[Request]:
        """Everything that was here is lost; who was, streams first."""
        self._version += 1
        self.dead = True
        lost = [*self.streams.clear(), *self._loaded, *self._loading, *self._prompts, *self._waiting]
        for rounds in (self._loaded, self._loading, self._prompts, self._waiting, self._mixed):
            rounds.clear()
        self._jump = 0
        self.queued_tokens = 0
        self.memory.forget_all()
        return lost

    @property
    def running(self) -> int:
        return self.streams.batch + len(self._prompts)

    @property
    def waiting(self) -> int:
        return len(self._waiting) + len(self._loading) + len(self._loaded)

    # -- time ---------------------------------------------------------------------------------------------

    def _wake(self) -> None:
        """Something wants in: at once if the engine is idle, else at the next boundary."""
        now = self._agenda.now
        if self._mixed:
            return
        if self._jump:
            self.advance(now)
            if self._at < now:  # the boundary is the jump's end, whose event comes
                return
            if self._waiting:
                self._admit()
            if not (self._loaded or self._prompts) and self._jump * self.streams.batch <= self.memory.free:
                return  # nobody joins yet, and what was planned still fits
        elif self._at < now:
            self._at = now
        self._plan()

    def _due(self, version: int) -> None:
        if version != self._version:
            return
        if self._mixed:
            self._end_mixed()
        else:
            self._move(self._jump)
            self._at = self._until
        for request in self.streams.pop_ended():
            self._end(request)
        self._plan()

    def _move(self, steps: int) -> None:
        """So many steps of the jump have passed."""
        first, growth, streams = self._first, self._growth, self.streams
        last = first + growth * (steps - 1)
        seconds = steps * (first + last) * 0.5
        slow = slow_steps(steps, first, growth, self._tpot) if last > self._tpot else 0
        began = streams.advance(
            steps, slow, first_ends=self._at + first, first_slow=1 if first > self._tpot else 0
        )
        self._first = last + growth
        self._jump -= steps
        self._passed(seconds, steps)
        if began:
            self._tell(began)

    def _passed(self, seconds: Seconds, steps: int) -> None:
        """Count what every iteration leaves: time, tokens, gaps between them, and memory that they fill."""
        self._at += seconds
        self.busy += seconds
        tokens = steps * self.streams.batch
        self.generated += tokens
        self._gaps += tokens
        self._gap_seconds += seconds * self.streams.batch
        if self._at - self._told_at > _TELL_EVERY:
            self._tell_gaps()
        memory = self.memory
        memory.running = self.streams.context
        if memory.idle and memory.free < memory.idle:
            memory.make_room()

    def _tell_gaps(self) -> None:
        self._told_at = self._at
        if self._gaps:
            self.itl.add(self._gap_seconds / self._gaps, now=self._at, weight=self._gaps)
        self._gaps, self._gap_seconds = 0, 0.0

    def _tell(self, began: list[Request]) -> None:
        for request in began:
            self._rounds.began(request)

    def _plan(self) -> None:
        """Decide at a boundary what comes next."""
        self._version += 1
        if self._waiting:
            self._admit()
        loaded = self._loaded
        while loaded and self.streams.batch + len(self._prompts) < self._sequences:
            request = loaded.popleft()
            self._join(request, request.target)
        if self._prompts:
            self._plan_mixed()
        elif self.streams.batch:
            self._plan_jump()
        else:
            self._jump = 0

    def _plan_jump(self) -> None:
        streams = self.streams
        steps, batch, context = streams.steps_to_next_end, streams.batch, streams.context
        free = self.memory.free
        if steps * batch > free:
            steps = free // batch
            if steps < 1:
                self._preempt()
                # Without admitting: whoever gave way would take its room back before a token is made of it.
                self._plan_jump() if streams.batch else self._plan()
                return
        line = self._lines.at(batch, context)
        if context + (steps - 1) * batch > line.up_to:
            steps = int((line.up_to - context) // batch) + 1
        first, growth = line.fixed + line.per_token * context, line.per_token * batch
        if self._noisy:
            factor = self._noise.factor(steps)
            first, growth = first * factor, growth * factor
        self._first, self._growth = first, growth
        self._jump = steps
        self._until = self._at + total_seconds(steps, first, growth)
        self._agenda.at(self._until, ENGINE, self._due, self._version)

    # -- prompts ------------------------------------------------------------------------------------------

    def _plan_mixed(self) -> None:
        """One token for each stream, and the prompts' next chunks in the order of their arrival."""
        streams = self.streams
        while streams.batch > self.memory.free:
            self._preempt()
        self._jump = 0
        budget = self._budget_beside(streams.batch)
        chunks = self._mixed
        for request in self._prompts:
            tokens = min(request.target - request.done, budget)
            chunks.append((request, tokens))
            budget -= tokens
            if budget <= 0:
                break
        seconds = self._model.iteration_seconds(
            [(tokens, request.done) for request, tokens in chunks],
            batch=streams.batch,
            context=streams.context,
        )
        if self._noisy:
            seconds *= self._noise.factor()
        self._until = self._at + seconds
        self._agenda.at(self._until, ENGINE, self._due, self._version)

    def _budget_beside(self, batch: int) -> int:
        most = self._budget - batch
        if self._engine.chunking is Chunking.BUDGET or not batch:
            return most
        return paced_chunk(
            self._model,
            most=most,
            least=min(most, self._engine.least_chunk),
            done=self._prompts[0].done,
            batch=batch,
            context=self.streams.context,
            limit=self._tpot,
        )

    def _end_mixed(self) -> None:
        seconds = self._until - self._at
        slow = 1 if seconds > self._tpot else 0
        began = self.streams.advance(1, slow, first_ends=self._until, first_slow=slow)
        self._passed(seconds, 1)
        self._at = self._until
        self._tell(began)
        chunks, self._mixed = self._mixed, []
        for request, tokens in chunks:
            request.done += tokens
            request.computed += tokens
            self.computed += tokens
            self.queued_tokens -= tokens
            if request.done >= request.target:
                self._prompts.remove(request)
                self._first_from_prompt(request)

    def _first_from_prompt(self, request: Request) -> None:
        """The iteration with the last chunk gives a token, like any other."""
        at = self._at
        request.left -= 1
        self.generated += 1
        if request.first_token == request.first_token:
            request.slow += at - request.last_token > self._tpot  # it was preempted in between
            self._join(request, request.target + 1)
            return
        request.first_token = at
        self._rounds.began(request)
        self._join(request, request.target + 1)

    def _join(self, request: Request, context: int) -> None:
        self.memory.release(request.held)
        request.held = 0
        self.streams.join(request, context)
        self.memory.running = self.streams.context

    # -- memory -------------------------------------------------------------------------------------------

    def _admit(self) -> None:
        """Reserve KV for those who wait, in their order: for the whole prompt, as half of it is of no use."""
        waiting, memory = self._waiting, self.memory
        while waiting:
            if self.running + len(self._loading) + len(self._loaded) >= self._sequences:
                return
            request = waiting[0]
            needed = request.target - request.held
            if not memory.reserve(needed):
                if self.running or self._loading or self._loaded or not self._strip():
                    return
                continue
            waiting.popleft()
            request.held += needed
            if request.pulls or request.pool_tokens:
                self._loading[request] = None
                self._rounds.fetch(request, self._at)
            else:
                request.done = request.history
                self._prompts.append(request)

    def _strip(self) -> bool:
        """Nobody can go on because all wait with pinned histories: the last of them loses its own.

        Returns whether there was one to take. Its prompt is computed here from the beginning.
        """
        for request in reversed(self._waiting):
            if request is not self._waiting[0] and request.held:
                self.memory.release(request.held)
                if request.pulls:
                    self.queued_tokens += request.target
                else:
                    self.queued_tokens += request.history
                request.held = request.history = request.pool_tokens = 0
                request.pulls = False
                return True
        return False

    def _preempt(self) -> None:
        """The youngest stream gives its KV up and computes it again, in front of all who wait."""
        request = self.streams.youngest
        context = self.streams.leave(request)
        self.memory.running = self.streams.context
        self.preemptions += 1
        request.last_token = self._at
        request.target = context  # its last token is not in the KV yet, so one more than it held
        request.history = request.pool_tokens = request.done = 0
        request.pulls = False
        self.queued_tokens += request.target
        self._waiting.appendleft(request)

    def _end(self, request: Request) -> None:
        context = self.streams.leave(request)
        self.memory.running = self.streams.context
        self.memory.keep(request.session, context - 1)
        self._rounds.ended(request, self._at)

"""The pure core of the emulated engine: iterations over sequences, without I/O or clock.

It works as vLLM's scheduler does. Time passes in iterations. Each one first serves every running
sequence (one token each; a prompt in progress gets its next chunk), then admits waiting ones while
token budget, sequence slots and KV memory last. If memory runs out, the sequence of least urgency
loses its KV and starts again. A request whose KV lies elsewhere is admitted twice: once to get memory
and load, and once, loaded, to compute the rest.

The caller owns the clock: ``advance`` says what time it is, ``begin`` how long the next iteration
takes, ``end`` what it produced.
"""

import heapq
from collections import Counter
from dataclasses import dataclass
from typing import Any

from pdscale.emulator.accounting import count_finish, count_lookup, count_prompt
from pdscale.emulator.blocks import BlockCache
from pdscale.emulator.connector import Connector, Pull
from pdscale.emulator.limits import Limits
from pdscale.emulator.sequence import Finish, Phase, Request, Sequence, Timeline
from pdscale.emulator.stats import EngineStats
from pdscale.emulator.tokens import END_OF_TURN, Token, next_token
from pdscale.emulator.transfer import OnFailure, Origin, TransferConfig
from pdscale.model.units import Seconds
from pdscale.perf.profile import Profile

Rank = tuple[int, Seconds, int]


@dataclass(frozen=True, slots=True)
class Iteration:
    """Sequences and how many tokens each computes. ``seconds`` is how long that takes."""

    work: tuple[tuple[Sequence, int], ...]
    seconds: Seconds


@dataclass(frozen=True, slots=True)
class Output:
    """One token of one request, or its end, or both. ``params`` is what the next leg needs."""

    sequence: Sequence
    token: Token | None
    finish: Finish | None = None
    params: dict[str, Any] | None = None


class Engine:
    """One replica. Without ``transfer`` it has no connector and ignores transfer parameters."""

    def __init__(
        self,
        profile: Profile,
        limits: Limits,
        *,
        transfer: TransferConfig | None = None,
        origin: Origin | None = None,
    ) -> None:
        self.profile = profile
        self.limits = limits
        self.cache = BlockCache(limits.kv_blocks, limits.block_size)
        self.stats = EngineStats(longest=limits.max_model_len)
        self.connector: Connector | None = None
        if transfer is not None:
            self.connector = Connector(
                transfer,
                origin or Origin("engine", "localhost", 5600),
                profile=profile,
                speed=limits.speed,
                cache=self.cache,
                stats=self.stats,
            )
        self._sequences: dict[str, Sequence] = {}
        self._running: list[Sequence] = []
        # Loaded sequences hold memory, so they go before those that hold none.
        self._loaded: list[tuple[Rank, Sequence]] = []
        self._waiting: list[tuple[Rank, Sequence]] = []
        self._number = 0

    def submit(self, request: Request, now: Seconds) -> Sequence:
        if request.id in self._sequences:
            raise ValueError(f"request {request.id} exists already")
        self._number += 1
        sequence = Sequence(request, self._number, self.limits.block_size, Timeline(now))
        self._sequences[request.id] = sequence
        heapq.heappush(self._waiting, (self._rank(sequence), sequence))
        if self.connector is not None:
            self.connector.expect(request, now)
        return sequence

    def abort(self, request: str, now: Seconds) -> None:
        """The client left: its KV goes free, and so does what waited for it on another engine."""
        sequence = self._sequences.get(request)
        if sequence is not None:
            self._close(sequence, Finish.ABORT, now)

    @property
    def next_event(self) -> Seconds | None:
        """When ``advance`` has something to do next, if nothing else happens."""
        return self.connector.next_event if self.connector is not None else None

    def advance(self, now: Seconds) -> None:
        """Let everything happen that is due and is not an iteration."""
        if self.connector is not None:
            for sequence in self.connector.advance(now):
                self._requeue_loaded(sequence)

    def begin(self, now: Seconds) -> Iteration | None:
        """Choose what the next iteration computes; None if there is nothing to compute."""
        work: dict[Sequence, int] = {}
        budget, preempted = self.limits.max_batched_tokens, False
        for sequence in tuple(self._running):
            if not budget:
                break
            if sequence.phase is not Phase.RUNNING:  # preempted for one before it
                continue
            wanted = min(sequence.pending, budget)
            while not self._reserve(sequence, sequence.computed + wanted):
                victim, preempted = self._victim(), True
                budget += work.pop(victim, 0)
                self._preempt(victim)
                if victim is sequence:
                    break
            else:
                work[sequence] = wanted
                budget -= wanted
        if not preempted or not work:
            self._admit(work, budget, now)
        return Iteration(tuple(work.items()), self._seconds(work)) if work else None

    def end(self, iteration: Iteration, now: Seconds) -> list[Output]:
        """Write the KV of the iteration and choose the tokens that follow.

        All sequences that advance together share a few inter-token intervals, usually one: each is
        observed once, with its count.
        """
        outputs: list[Output] = []
        intervals: Counter[Seconds] = Counter()
        tokens = 0
        for sequence, count in iteration.work:
            if sequence.phase is not Phase.RUNNING:  # aborted meanwhile
                continue
            sequence.compute(self.cache, count)
            tokens += count
            if not sequence.pending:
                outputs.append(self._choose(sequence, intervals, now))
        for interval, times in intervals.items():
            self.stats.inter_token_latency.observe(interval, times)
        self.stats.iteration_tokens.observe(tokens)
        self.stats.generation_tokens += len(outputs)
        return outputs

    def fail(self, pull: Pull, now: Seconds) -> Output | None:
        """A peer could not be read: the request ends in error, or its prompt is computed here."""
        sequence = self.connector.fail(pull) if self.connector is not None else None
        if sequence is None or self.connector is None:
            return None
        if self.connector.config.on_failure is OnFailure.FAIL:
            self._close(sequence, Finish.ERROR, now)
            return Output(sequence, None, Finish.ERROR)
        sequence.external_cached = 0
        sequence.adopt(self.cache, sequence.local_cached)
        self._requeue_loaded(sequence)
        return None

    @property
    def running(self) -> int:
        return len(self._running)

    @property
    def waiting(self) -> int:
        """Requests that compute nothing, for want of room or of KV."""
        return len(self._sequences) - len(self._running)

    @property
    def loading(self) -> int:
        return self.connector.loading if self.connector is not None else 0

    @property
    def loaded(self) -> int:
        """Requests that have their KV and wait to run."""
        return sum(_holds_memory(s) for _, s in self._loaded)

    @property
    def wanting_kv(self) -> int:
        """Requests that will load KV and have no memory for it yet."""
        if self.connector is None:
            return 0
        params = [s.request.params for _, s in self._waiting if not s.connected and s.waits]
        return sum(p is not None and p.remote_prefill for p in params)

    def _rank(self, sequence: Sequence) -> Rank:
        """Who goes first: lower priority value if that counts, then arrival."""
        priority = sequence.request.priority if self.limits.by_priority else 0
        return (priority, sequence.times.arrived, sequence.number)

    def _requeue_loaded(self, sequence: Sequence) -> None:
        sequence.phase = Phase.WAITING
        heapq.heappush(self._loaded, (self._rank(sequence), sequence))

    def _admit(self, work: dict[Sequence, int], budget: int, now: Seconds) -> None:
        for queue in (self._loaded, self._waiting):
            while queue and budget and len(self._running) < self.limits.max_sequences:
                sequence = queue[0][1]
                stale = not sequence.waits or (queue is self._loaded and not sequence.blocks)
                if not stale and not sequence.blocks and not self._place(sequence):
                    return
                heapq.heappop(queue)
                if stale or sequence.phase is Phase.LOADING:
                    continue
                work[sequence] = min(sequence.pending, budget)
                budget -= work[sequence]
                self._run(sequence, now)

    def _run(self, sequence: Sequence, now: Seconds) -> None:
        sequence.phase = Phase.RUNNING
        self._running.append(sequence)
        if sequence.times.scheduled is None:
            sequence.times.scheduled = now

    def _place(self, sequence: Sequence) -> bool:
        """Give memory for all tokens, cached blocks first; False if there is not enough.

        For all, because admitting half a prompt only leads to preemption later.
        """
        found = sequence.reusable(self.cache)
        lacking = self.cache.needed_for(len(sequence.tokens)) - len(found)
        if lacking > self.cache.free - self.cache.idle(found):
            return False
        self.cache.take(found)
        sequence.blocks = found + (self.cache.allocate(lacking) or [])
        have = len(found) * self.limits.block_size
        load = self.connector.connect(sequence, have) if self.connector is not None else 0
        if not sequence.preemptions:
            sequence.local_cached, sequence.external_cached = have, load
            count_lookup(self.stats, sequence, external=self.connector is not None)
        if load:
            sequence.phase = Phase.LOADING
        else:
            sequence.adopt(self.cache, have)
        return True

    def _reserve(self, sequence: Sequence, tokens: int) -> bool:
        lacking = self.cache.needed_for(tokens) - len(sequence.blocks)
        if lacking <= 0:
            return True
        blocks = self.cache.allocate(lacking)
        if blocks is None:
            return False
        sequence.blocks += blocks
        return True

    def _victim(self) -> Sequence:
        """The least urgent of those that hold memory and are not in the middle of loading."""
        loaded = (s for _, s in self._loaded if _holds_memory(s))
        return max((*self._running, *loaded), key=self._rank)

    def _preempt(self, sequence: Sequence) -> None:
        self.cache.release(sequence.blocks)
        sequence.forget()
        sequence.preemptions += 1
        self.stats.preemptions += 1
        if sequence.phase is Phase.RUNNING:
            self._running.remove(sequence)
        sequence.phase = Phase.WAITING
        heapq.heappush(self._waiting, (self._rank(sequence), sequence))

    def _seconds(self, work: dict[Sequence, int]) -> Seconds:
        """A chunk of one token is a decode step: it reads the KV of its context and adds one."""
        chunks = [(n, s.computed) for s, n in work.items() if n > 1]
        contexts = [s.computed + 1 for s, n in work.items() if n == 1]
        seconds = self.profile.iteration_seconds(chunks, batch=len(contexts), context=sum(contexts))
        return seconds / self.limits.speed

    def _choose(self, sequence: Sequence, intervals: Counter[Seconds], now: Seconds) -> Output:
        request, times = sequence.request, sequence.times
        may_end = request.stops and sequence.generated >= request.min_tokens
        token = next_token(sequence.seen, ends_after=self.limits.answer_length if may_end else 0)
        sequence.tokens.append(token)
        if times.first_token is None:
            times.first_token = now
            count_prompt(self.stats, sequence, now)
        elif times.last_token is not None:
            intervals[now - times.last_token] += 1
        times.last_token = now
        finish = self._finish_of(sequence, token)
        if finish is None:
            return Output(sequence, token)
        return Output(sequence, token, finish, self._close(sequence, finish, now))

    def _finish_of(self, sequence: Sequence, token: Token) -> Finish | None:
        if token == END_OF_TURN:
            return Finish.STOP
        full = len(sequence.tokens) >= self.limits.max_model_len
        return Finish.LENGTH if full or sequence.generated >= sequence.request.max_tokens else None

    def _close(self, sequence: Sequence, finish: Finish, now: Seconds) -> dict[str, Any] | None:
        """End a request. Its blocks go free, or stay for the next leg, which is told where."""
        if sequence.phase is Phase.RUNNING:
            self._running.remove(sequence)
        sequence.phase = Phase.FINISHED
        del self._sequences[sequence.request.id]
        count_finish(self.stats, sequence, finish, now)
        params = None
        if self.connector is not None:
            self.connector.drop(sequence)
            if finish in (Finish.STOP, Finish.LENGTH):
                params = self.connector.leave_blocks(sequence, now)
        if params is None:
            self.cache.release(sequence.blocks)
        return params


def _holds_memory(sequence: Sequence) -> bool:
    return sequence.waits and bool(sequence.blocks)

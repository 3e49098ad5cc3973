"""The pure core of the emulated engine: iterations over sequences, without I/O or clock.

Time passes in iterations: ``schedule`` says who computes in the next one, the profile how long that takes.
The caller owns the clock: ``advance`` says what time it is, ``begin`` how long the next iteration takes,
``end`` what it produced.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pdscale.emulator.accounting import count_finish, count_prompt
from pdscale.emulator.blocks import BlockCache
from pdscale.emulator.choice import choose, finish_of
from pdscale.emulator.limits import Limits
from pdscale.emulator.schedule import Schedule, Work
from pdscale.emulator.sequence import Finish, Phase, Request, Sequence, Timeline
from pdscale.emulator.stats import EngineStats
from pdscale.emulator.tokens import Token
from pdscale.emulator.transfers import Transfers
from pdscale.model.units import Seconds
from pdscale.perf.profile import Profile

NewTransfers = Callable[[BlockCache, EngineStats], Transfers]


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
    params: Mapping[str, Any] | None = None


class Engine:
    """One replica. Without ``transfers`` its KV stays where it is."""

    def __init__(self, profile: Profile, limits: Limits, *, transfers: NewTransfers | None = None) -> None:
        self.profile = profile
        self.limits = limits
        self.cache = BlockCache(limits.kv_blocks, limits.block_size)
        self.stats = EngineStats(longest=limits.max_model_len)
        self.transfers = transfers(self.cache, self.stats) if transfers is not None else None
        self._schedule = Schedule(limits, self.cache, self.stats, self.transfers)
        self._sequences: dict[str, Sequence] = {}
        self._unsent: dict[str, Output] = {}  # answers that wait for their KV to move
        self._number = 0

    def submit(self, request: Request, now: Seconds) -> Sequence:
        if request.id in self._sequences or request.id in self._unsent:
            raise ValueError(f"request {request.id} exists already")
        self._number += 1
        sequence = Sequence(request, self._number, self.limits.block_size, Timeline(now))
        self._sequences[request.id] = sequence
        if self.transfers is None or self.transfers.expect(request, now):
            self._schedule.add(sequence)
        return sequence

    def abort(self, request: str, now: Seconds) -> None:
        """The client left: its KV goes free, and so does what waited for it on another engine."""
        sequence = self._sequences.get(request)
        if sequence is not None:
            self._close(sequence, Finish.ABORT, now)
        elif self._unsent.pop(request, None) is not None and self.transfers is not None:
            self.transfers.withdraw(request)

    @property
    def next_event(self) -> Seconds | None:
        """When ``advance`` has something to do next, if nothing else happens."""
        return self.transfers.next_event if self.transfers is not None else None

    def advance(self, now: Seconds) -> list[Output]:
        """Let everything happen that is due and is not an iteration."""
        if self.transfers is None:
            return []
        progress = self.transfers.advance(now)
        for sequence in progress.loaded:
            self._schedule.add_loaded(sequence)
        for name in progress.met:
            if name in self._sequences:
                self._schedule.add(self._sequences[name])
        outputs = [self._unsent.pop(name) for name in progress.sent]
        failed = (self.fail(name, now) for name in progress.failed)
        return outputs + [output for output in failed if output is not None]

    def begin(self, now: Seconds) -> Iteration | None:
        """Choose what the next iteration computes; None if there is nothing to compute."""
        work = self._schedule.choose(now)
        return Iteration(tuple(work.items()), self._seconds(work)) if work else None

    def end(self, iteration: Iteration, now: Seconds) -> list[Output]:
        """Write the KV of the iteration and choose the tokens that follow.

        All sequences that advance together share a few inter-token intervals, usually one: each is
        observed once, with its count.
        """
        outputs: list[Output] = []
        intervals: Counter[Seconds] = Counter()
        tokens = generated = 0
        for sequence, count in iteration.work:
            if sequence.phase is not Phase.RUNNING:  # aborted meanwhile
                continue
            sequence.compute(self.cache, count)
            tokens += count
            if not sequence.pending:
                generated += 1
                output = self._choose(sequence, intervals, now)
                if output is not None:
                    outputs.append(output)
        for interval, times in intervals.items():
            self.stats.inter_token_latency.observe(interval, times)
        self.stats.iteration_tokens.observe(tokens)
        self.stats.generation_tokens += generated
        return outputs

    def fail(self, request: str, now: Seconds) -> Output | None:
        """A request's KV cannot be moved: it ends in error, or its prompt is computed here."""
        if self.transfers is None:
            return None
        sequence = self.transfers.lose(request) or self._sequences.get(request)
        unsent = self._unsent.pop(request, None)
        if unsent is not None:
            return Output(unsent.sequence, None, Finish.ERROR)
        if sequence is None or sequence.phase is Phase.FINISHED:
            return None
        if not self.transfers.recomputes:
            self._close(sequence, Finish.ERROR, now)
            return Output(sequence, None, Finish.ERROR)
        sequence.external_cached = 0
        sequence.adopt(self.cache, sequence.local_cached)
        self._schedule.add_loaded(sequence)
        return None

    @property
    def idle(self) -> bool:
        return not self._sequences and not self._unsent

    @property
    def running(self) -> int:
        return len(self._schedule.running)

    @property
    def waiting(self) -> int:
        """Requests that compute nothing, for want of room or of KV."""
        return len(self._sequences) - self.running

    @property
    def unsent(self) -> int:
        """Requests that are computed and whose KV has not left yet."""
        return len(self._unsent)

    @property
    def loading(self) -> int:
        return self.transfers.loading if self.transfers is not None else 0

    @property
    def loaded(self) -> int:
        """Requests that have their KV and wait to run."""
        return self._schedule.loaded

    @property
    def wanting_kv(self) -> int:
        """Requests that will load KV and have no memory for it yet."""
        return self._schedule.wanting_kv if self.transfers is not None else 0

    def _seconds(self, work: Work) -> Seconds:
        """A chunk of one token is a decode step: it reads the KV of its context and adds one."""
        chunks = [(n, s.computed) for s, n in work.items() if n > 1]
        contexts = [s.computed + 1 for s, n in work.items() if n == 1]
        seconds = self.profile.iteration_seconds(chunks, batch=len(contexts), context=sum(contexts))
        return seconds / self.limits.speed

    def _choose(self, sequence: Sequence, intervals: Counter[Seconds], now: Seconds) -> Output | None:
        times, token = sequence.times, choose(sequence, self.limits)
        if times.first_token is None:
            times.first_token = now
            count_prompt(self.stats, sequence, now)
        elif times.last_token is not None:
            intervals[now - times.last_token] += 1
        times.last_token = now
        finish = finish_of(sequence, token, self.limits)
        if finish is None:
            return Output(sequence, token)
        params = self._close(sequence, finish, now)
        output = Output(sequence, token, finish, params)
        if params is None or self.transfers is None or not self.transfers.answers_when_sent:
            return output
        self._unsent[sequence.request.id] = output
        return None

    def _close(self, sequence: Sequence, finish: Finish, now: Seconds) -> Mapping[str, Any] | None:
        """End a request. Its blocks go free, or stay for the next leg, which is told where."""
        if sequence.phase is Phase.RUNNING:
            self._schedule.running.remove(sequence)
        sequence.phase = Phase.FINISHED
        del self._sequences[sequence.request.id]
        count_finish(self.stats, sequence, finish, now)
        params = None
        if self.transfers is not None:
            self.transfers.drop(sequence)
            if finish in (Finish.STOP, Finish.LENGTH):
                params = self.transfers.keep(sequence, now)
        if params is None:
            self.cache.release(sequence.blocks)
        return params

"""Who computes what in the next iteration, and whose KV is in memory. Works as vLLM's scheduler does.

Each iteration first serves every running sequence (one token each; a prompt in progress gets its next chunk),
then admits waiting ones while token budget, sequence slots and KV memory last. If memory runs out, the
sequence of least urgency loses its KV and starts again. A request whose KV lies elsewhere is admitted twice:
once to get memory and load, and once, loaded, to compute the rest.
"""

import heapq

from pdscale.emulator.accounting import count_lookup
from pdscale.emulator.blocks import BlockCache
from pdscale.emulator.limits import Limits
from pdscale.emulator.sequence import Phase, Sequence
from pdscale.emulator.stats import EngineStats
from pdscale.emulator.transfers import Transfers
from pdscale.model.units import Seconds

Rank = tuple[int, Seconds, int]
Work = dict[Sequence, int]
"""Sequences and how many tokens each computes."""


class Schedule:
    """Queues and memory of one engine. Sequences that are finished in between are skipped when met."""

    def __init__(
        self, limits: Limits, cache: BlockCache, stats: EngineStats, transfers: Transfers | None
    ) -> None:
        self.running: list[Sequence] = []
        self._limits = limits
        self._cache = cache
        self._stats = stats
        self._transfers = transfers
        # Loaded sequences hold memory, so they go before those that hold none.
        self._loaded: list[tuple[Rank, Sequence]] = []
        self._waiting: list[tuple[Rank, Sequence]] = []

    def add(self, sequence: Sequence) -> None:
        heapq.heappush(self._waiting, (self._rank(sequence), sequence))

    def add_loaded(self, sequence: Sequence) -> None:
        """Its KV is in memory now, or never will be."""
        sequence.phase = Phase.WAITING
        heapq.heappush(self._loaded, (self._rank(sequence), sequence))

    @property
    def loaded(self) -> int:
        """Sequences that have their KV and wait to run."""
        return sum(_holds_memory(s) for _, s in self._loaded)

    @property
    def wanting_kv(self) -> int:
        """Sequences that will load KV and have no memory for it yet."""
        return sum(s.waits and not s.connected and s.request.loads_kv for _, s in self._waiting)

    def choose(self, now: Seconds) -> Work:
        """What the next iteration computes; nothing if nobody can."""
        work: Work = {}
        budget, preempted = self._limits.max_batched_tokens, False
        for sequence in tuple(self.running):
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
        return work

    def _rank(self, sequence: Sequence) -> Rank:
        """Who goes first: lower priority value if that counts, then arrival."""
        priority = sequence.request.priority if self._limits.by_priority else 0
        return (priority, sequence.times.arrived, sequence.number)

    def _admit(self, work: Work, budget: int, now: Seconds) -> None:
        for queue in (self._loaded, self._waiting):
            while queue and budget and len(self.running) < self._limits.max_sequences:
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
        self.running.append(sequence)
        if sequence.times.scheduled is None:
            sequence.times.scheduled = now

    def _place(self, sequence: Sequence) -> bool:
        """Give memory for all tokens, cached blocks first; False if there is not enough.

        For all, because admitting half a prompt only leads to preemption later.
        """
        transfers = self._transfers
        found = sequence.reusable(self._cache) if transfers is None or transfers.reuses_prefixes else []
        lacking = self._cache.needed_for(len(sequence.tokens)) - len(found)
        if lacking > self._cache.free - self._cache.idle(found):
            return False
        self._cache.take(found)
        sequence.blocks = found + (self._cache.allocate(lacking) or [])
        have = len(found) * self._limits.block_size
        load = transfers.connect(sequence, have) if transfers is not None else 0
        if not sequence.preemptions:
            sequence.local_cached, sequence.external_cached = have, load
            count_lookup(self._stats, sequence, external=transfers is not None)
        if load:
            sequence.phase = Phase.LOADING
        else:
            sequence.adopt(self._cache, have)
        return True

    def _reserve(self, sequence: Sequence, tokens: int) -> bool:
        lacking = self._cache.needed_for(tokens) - len(sequence.blocks)
        if lacking <= 0:
            return True
        blocks = self._cache.allocate(lacking)
        if blocks is None:
            return False
        sequence.blocks += blocks
        return True

    def _victim(self) -> Sequence:
        """The least urgent of those that hold memory and are not in the middle of loading."""
        loaded = (s for _, s in self._loaded if _holds_memory(s))
        return max((*self.running, *loaded), key=self._rank)

    def _preempt(self, sequence: Sequence) -> None:
        self._cache.release(sequence.blocks)
        sequence.forget()
        sequence.preemptions += 1
        self._stats.preemptions += 1
        if sequence.phase is Phase.RUNNING:
            self.running.remove(sequence)
        sequence.phase = Phase.WAITING
        self.add(sequence)


def _holds_memory(sequence: Sequence) -> bool:
    return sequence.waits and bool(sequence.blocks)

"""The connector of one engine: leases on its blocks, and KV on its way in. No I/O, no clock.

What must be sent to other engines is put into ``errands``; the shell sends it and brings back what
the peers say. A network card serves one transfer at a time, in or out.
"""

import heapq
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pdscale.emulator.blocks import BlockCache, BlockId, Content
from pdscale.emulator.leases import Leases
from pdscale.emulator.sequence import Request, Sequence
from pdscale.emulator.stats import EngineStats
from pdscale.emulator.transfer import (
    Origin,
    Remote,
    TransferConfig,
    TransferParams,
    hand_out,
    leaves_blocks,
    tokens_to_load,
    will_be_read,
)
from pdscale.model.units import Seconds
from pdscale.perf.profile import Profile


class EngineDied(RuntimeError):
    """A request killed the engine, as it would kill a real one. The process must end."""


@dataclass(frozen=True, slots=True)
class Pull:
    """Read these blocks for a waiting request, then call ``deliver`` or ``fail``."""

    request: str
    remote: Remote
    blocks: tuple[BlockId, ...]
    tokens: int


@dataclass(frozen=True, slots=True)
class Notify:
    """Tell the engine at ``remote`` that its blocks are no longer needed."""

    remote: Remote


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Tell the engine at ``remote`` that these of its leases are still wanted."""

    remote: Remote
    requests: tuple[str, ...]


Errand = Pull | Notify | Heartbeat


@dataclass(frozen=True, slots=True)
class Delivery:
    """KV that is on its way and complete at ``at``."""

    at: Seconds
    started: Seconds
    pull: Pull
    contents: tuple[Content, ...]


class Connector:
    """``speed`` shortens transfers, but neither leases nor time-outs: those are the protocol's."""

    def __init__(
        self,
        config: TransferConfig,
        origin: Origin,
        *,
        profile: Profile,
        speed: float,
        cache: BlockCache,
        stats: EngineStats,
    ) -> None:
        self.config = config
        self.origin = origin
        self.leases = Leases()
        self.errands: list[Errand] = []
        self._profile = profile
        self._speed = speed
        self._cache = cache
        self._stats = stats
        self._loading: dict[str, tuple[Sequence, Remote | None]] = {}
        self._deliveries: list[tuple[Seconds, int, Delivery]] = []
        self._beating: dict[str, Remote] = {}
        self._next_beat: Seconds | None = None
        self._nic_free: Seconds = 0.0
        self._number = 0

    @property
    def loading(self) -> int:
        return len(self._loading)

    # The life of a request of ours.

    def expect(self, request: Request, now: Seconds) -> None:
        """A new request: keep the blocks alive that it will read."""
        params = request.params
        if params is not None and params.remote_prefill and params.remote is not None:
            self._beating[request.id] = params.remote
            if self._next_beat is None:
                self._next_beat = now + self.config.heartbeat_interval

    def connect(self, sequence: Sequence, have: int) -> int:
        """A request got memory: start to load what it lacks; return how many tokens that is."""
        params = sequence.request.params
        if params is None or sequence.connected:
            return 0
        sequence.connected = True
        load = tokens_to_load(params, self.config, prompt=len(sequence.request.prompt), have=have)
        if params.remote_prefill and not params.names_blocks:
            raise EngineDied(
                f"request {sequence.request.id} wants {load} tokens of remote KV without block ids"
            )
        remote = params.remote if will_be_read(params, self.config) else None
        if load:
            self._loading[sequence.request.id] = (sequence, remote)
        if load and remote is not None:
            first, end = have // self._cache.block_size, self._cache.needed_for(have + load)
            self.errands.append(Pull(sequence.request.id, remote, remote.blocks[first:end], tokens=load))
        else:
            self._tell_done(remote)
        return load

    def drop(self, sequence: Sequence) -> None:
        """A request ended early: give up what it would still have read."""
        params, loading = sequence.request.params, self._loading.pop(sequence.request.id, None)
        if loading is not None:
            self._tell_done(loading[1])
        elif params is not None and not sequence.connected:
            self.give_up(params)
        self._beating.pop(sequence.request.id, None)

    def give_up(self, params: TransferParams) -> None:
        """A decode leg will never run: free the blocks that its prefill leg left for it."""
        if params.remote_prefill:
            self._tell_done(params.remote)

    def leave_blocks(self, sequence: Sequence, now: Seconds) -> dict[str, Any] | None:
        """A request finished: pin its blocks if somebody may want them, and say how to get them."""
        params = sequence.request.params
        if params is None or not leaves_blocks(params, self.config):
            return None
        sequence.flush(self._cache)
        prefill = params.remote_decode
        until = now + (self.config.lease if prefill else self.config.decoder_blocks_ttl)
        self.leases.grant(sequence.request.id, tuple(sequence.blocks), until=until)
        return hand_out(
            self.origin,
            sequence.request.id,
            prefill=prefill,
            blocks=sequence.blocks,
            tokens=sequence.computed,
            expires=until,
            cached=sequence.cached,
        )

    # What peers say.

    def serve(
        self, blocks: Iterable[BlockId], *, tokens: int, now: Seconds
    ) -> tuple[tuple[Content, ...], Seconds]:
        """A peer reads: what the blocks hold now, lease or not, and how long our side will take."""
        contents = tuple(self._cache.read(block) for block in blocks)
        return contents, self._occupy_nic(tokens, now) - now

    def done(self, request: str) -> None:
        """A peer has read, or will never read, the blocks of ``request``."""
        if self.leases.came_too_late(request):
            self._stats.late_notifications += 1
        self._cache.release(self.leases.end(request))

    def alive(self, requests: Iterable[str], now: Seconds) -> None:
        self.leases.renew(requests, until=now + self.config.lease)

    def deliver(self, pull: Pull, contents: tuple[Content, ...], *, ready_in: Seconds, now: Seconds) -> None:
        """The peer has answered a pull: its side takes ``ready_in``, ours until our card is free."""
        at = max(now + ready_in, self._occupy_nic(pull.tokens, now))
        self._number += 1
        heapq.heappush(self._deliveries, (at, self._number, Delivery(at, now, pull, contents)))

    def fail(self, pull: Pull) -> Sequence | None:
        """The peer could not be read: the request that is left without KV, unless it is gone."""
        loading = self._loading.pop(pull.request, None)
        if loading is None:
            return None
        self._stats.failed_transfers += 1
        self._beating.pop(pull.request, None)
        return loading[0]

    # Time passes.

    @property
    def next_event(self) -> Seconds | None:
        delivery = self._deliveries[0][0] if self._deliveries else None
        candidates = (self.leases.next_expiry, self._next_beat, delivery)
        return min((c for c in candidates if c is not None), default=None)

    def advance(self, now: Seconds) -> list[Sequence]:
        """Let leases end and hearts beat; return the sequences whose KV has arrived."""
        for lease in self.leases.expire(now):
            self._cache.release(lease.blocks)
            self._stats.expired_leases += 1
        if self._next_beat is not None and self._next_beat <= now:
            self._beat(now)
        arrived = []
        while self._deliveries and self._deliveries[0][0] <= now:
            sequence = self._arrive(heapq.heappop(self._deliveries)[2])
            if sequence is not None:
                arrived.append(sequence)
        return arrived

    def _arrive(self, delivery: Delivery) -> Sequence | None:
        pull = delivery.pull
        loading = self._loading.pop(pull.request, None)
        if loading is None:  # the request was aborted, and the peer was told so then
            return None
        sequence = loading[0]
        first = sequence.local_cached // self._cache.block_size
        # Fewer contents than blocks leave memory as it was: wrong KV, as on a real engine.
        for block, content in zip(sequence.blocks[first:], delivery.contents, strict=False):
            self._cache.write(block, content)
        loaded = sequence.local_cached + pull.tokens
        sequence.adopt(self._cache, min(loaded, len(sequence.tokens) - 1))
        sequence.seal(self._cache)
        self._beating.pop(pull.request, None)
        self._tell_done(pull.remote)
        self._count(delivery)
        return sequence

    def _beat(self, now: Seconds) -> None:
        wanted: dict[str, tuple[Remote, list[str]]] = {}
        for remote in self._beating.values():
            wanted.setdefault(remote.engine, (remote, []))[1].append(remote.request)
        self.errands += [Heartbeat(r, tuple(requests)) for r, requests in wanted.values()]
        self._next_beat = now + self.config.heartbeat_interval if wanted else None

    def _occupy_nic(self, tokens: int, now: Seconds) -> Seconds:
        seconds = self._profile.transfer_seconds(tokens) / self._speed
        self._nic_free = max(now, self._nic_free) + seconds
        return self._nic_free

    def _tell_done(self, remote: Remote | None) -> None:
        if remote is not None:
            self.errands.append(Notify(remote))

    def _count(self, delivery: Delivery) -> None:
        tokens = delivery.pull.tokens
        self._stats.transfer_time.observe(delivery.at - delivery.started)
        self._stats.posting_time.observe(0.0)
        self._stats.transfer_bytes.observe(tokens * self._profile.kv_bytes_per_token)
        self._stats.transfer_descriptors.observe(len(delivery.contents))

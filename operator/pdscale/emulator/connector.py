"""The connector of one vLLM engine: leases on its blocks, and KV on its way in. No I/O, no clock.

The rules of what moves when are ``transfer``'s. What must be sent to other engines is put into ``errands``;
the shell sends it and brings back what the peers say.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pdscale.emulator.blocks import BlockCache, BlockId, Content
from pdscale.emulator.errands import Errand, Heartbeat, Notify, Pull
from pdscale.emulator.leases import Leases
from pdscale.emulator.network_card import NetworkCard
from pdscale.emulator.sequence import Request, Sequence
from pdscale.emulator.stats import EngineStats
from pdscale.emulator.transfer import (
    OnFailure,
    Origin,
    Remote,
    TransferConfig,
    TransferParams,
    hand_out,
    leaves_blocks,
    tokens_to_load,
    will_be_read,
)
from pdscale.emulator.transfers import EngineDied, Progress
from pdscale.model.units import Seconds
from pdscale.perf.profile import Profile

# Parameters without a flag: the worker never hears of the lease that the scheduler grants. The blocks stay
# pinned (seen on a real engine, 0.33.0).
_FOR_GOOD: Final[Seconds] = 1e8


@dataclass(frozen=True, slots=True)
class Delivery:
    """KV that is on its way and complete at ``at``."""

    at: Seconds
    started: Seconds
    pull: Pull
    contents: tuple[Content, ...]


class Connector:
    """``speed`` shortens transfers, but neither leases nor time-outs: those are the protocol's."""

    reuses_prefixes = True
    answers_when_sent = False

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
        self._cache = cache
        self._stats = stats
        self._card: NetworkCard[Delivery] = NetworkCard(profile, speed)
        self._loading: dict[str, tuple[Sequence, Remote | None]] = {}
        self._beating: dict[str, Remote] = {}
        self._next_beat: Seconds | None = None

    @property
    def recomputes(self) -> bool:
        return self.config.on_failure is OnFailure.RECOMPUTE

    @property
    def loading(self) -> int:
        return len(self._loading)

    # The life of a request of ours.

    def expect(self, request: Request, now: Seconds) -> bool:
        """A new request: keep the blocks alive that it will read."""
        params = request.params
        if params is not None and params.remote_prefill and params.remote is not None:
            self._beating[request.id] = params.remote
            if self._next_beat is None:
                self._next_beat = now + self.config.heartbeat_interval
        return True

    def connect(self, sequence: Sequence, have: int) -> int:
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
        params, loading = sequence.request.params, self._loading.pop(sequence.request.id, None)
        if loading is not None:
            self._tell_done(loading[1])
        elif params is not None and not sequence.connected:
            self.give_up(params)
        self._beating.pop(sequence.request.id, None)

    def withdraw(self, request: str) -> None:
        """Nothing: answers do not wait for their KV to move."""

    def give_up(self, params: TransferParams) -> None:
        """A decode leg will never run: free the blocks that its prefill leg left for it."""
        if params.remote_prefill:
            self._tell_done(params.remote)

    def keep(self, sequence: Sequence, now: Seconds) -> Mapping[str, Any] | None:
        """A request finished: pin its blocks if somebody may want them, and say how to get them."""
        params = sequence.request.params
        if params is None or not leaves_blocks(params, self.config):
            return None
        sequence.flush(self._cache)
        prefill = params.remote_decode
        if prefill or params.remote_prefill:
            until = now + (self.config.lease if prefill else self.config.decoder_blocks_ttl)
        else:
            until = now + _FOR_GOOD
        self.leases.grant(sequence.request.id, tuple(sequence.blocks), until=until)
        return hand_out(
            self.origin,
            sequence.request.id,
            prefill=prefill,
            blocks=sequence.blocks,
            tokens=sequence.computed,
            expires=until,
            cached=sequence.cached if sequence.generated == 1 else None,
        )

    # What peers say.

    def serve(
        self, blocks: Iterable[BlockId], *, tokens: int, now: Seconds
    ) -> tuple[tuple[Content, ...], Seconds]:
        """A peer reads: what the blocks hold now, lease or not, and how long our side will take."""
        contents = tuple(self._cache.read(block) for block in blocks)
        return contents, self._card.occupy(tokens, now) - now

    def done(self, request: str) -> None:
        """A peer has read, or will never read, the blocks of ``request``."""
        if self.leases.came_too_late(request):
            self._stats.late_notifications += 1
        self._cache.release(self.leases.end(request))

    def alive(self, requests: Iterable[str], now: Seconds) -> None:
        self.leases.renew(requests, until=now + self.config.lease)

    def deliver(self, pull: Pull, contents: tuple[Content, ...], *, ready_in: Seconds, now: Seconds) -> None:
        """The peer has answered a pull: its side takes ``ready_in``, ours until our card is free."""
        at = max(now + ready_in, self._card.occupy(pull.tokens, now))
        self._card.expect(Delivery(at, now, pull, contents), at)

    def lose(self, request: str) -> Sequence | None:
        """The peer could not be read: the request that is left without KV, unless it is gone."""
        loading = self._loading.pop(request, None)
        if loading is None:
            return None
        self._stats.failed_transfers += 1
        self._beating.pop(request, None)
        return loading[0]

    # Time passes.

    @property
    def next_event(self) -> Seconds | None:
        candidates = (self.leases.next_expiry, self._next_beat, self._card.next_arrival)
        return min((c for c in candidates if c is not None), default=None)

    def advance(self, now: Seconds) -> Progress:
        """Let leases end and hearts beat; see whose KV has arrived."""
        for lease in self.leases.expire(now):
            self._cache.release(lease.blocks)
            self._stats.expired_leases += 1
        if self._next_beat is not None and self._next_beat <= now:
            self._beat(now)
        arrived = (self._arrive(delivery) for delivery in self._card.arrived(now))
        return Progress(loaded=[sequence for sequence in arrived if sequence is not None])

    def _arrive(self, delivery: Delivery) -> Sequence | None:
        pull = delivery.pull
        loading = self._loading.pop(pull.request, None)
        if loading is None:  # the request was aborted, and the peer was told so then
            return None
        sequence = loading[0]
        sequence.receive(self._cache, delivery.contents, pull.tokens)
        self._beating.pop(pull.request, None)
        self._tell_done(pull.remote)
        seconds = delivery.at - delivery.started
        size = pull.tokens * self._profile.kv_bytes_per_token
        self._stats.transferred(seconds, size=size, blocks=len(delivery.contents))
        return sequence

    def _beat(self, now: Seconds) -> None:
        wanted: dict[str, tuple[Remote, list[str]]] = {}
        for remote in self._beating.values():
            wanted.setdefault(remote.engine, (remote, []))[1].append(remote.request)
        self.errands += [Heartbeat(r, tuple(requests)) for r, requests in wanted.values()]
        self._next_beat = now + self.config.heartbeat_interval if wanted else None

    def _tell_done(self, remote: Remote | None) -> None:
        if remote is not None:
            self.errands.append(Notify(remote))

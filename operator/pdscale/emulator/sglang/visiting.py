"""The decode engine's side of rooms: a leg gets memory for its prompt, and waits in the room for its KV."""

from collections.abc import Callable
from dataclasses import dataclass

from pdscale.emulator.blocks import BlockCache, Content
from pdscale.emulator.modes import Patience
from pdscale.emulator.network_card import NetworkCard
from pdscale.emulator.sequence import Room, Sequence
from pdscale.emulator.sglang.errands import Errand, Leave, Meet
from pdscale.emulator.stats import EngineStats
from pdscale.emulator.transfers import Progress
from pdscale.model.units import Seconds


@dataclass(frozen=True, slots=True)
class _Arrival:
    meet: Meet
    contents: tuple[Content, ...]
    cached: int
    seconds: Seconds


class Visiting:
    """Decode legs by request. ``tell`` takes errands, ``bytes_per_token`` is for the books."""

    def __init__(
        self,
        patience: Patience,
        card: NetworkCard[_Arrival],
        cache: BlockCache,
        tell: Callable[[Errand], None],
        *,
        stats: EngineStats,
        bytes_per_token: float,
    ) -> None:
        self._patience = patience
        self._card = card
        self._cache = cache
        self._tell = tell
        self._stats = stats
        self._bytes_per_token = bytes_per_token
        self._loading: dict[str, tuple[Sequence, Meet]] = {}
        self._until: dict[str, Seconds] = {}
        self._failed: list[str] = []

    @property
    def loading(self) -> int:
        return len(self._loading)

    # A decode leg's life.

    def expect(self, request: str, now: Seconds) -> None:
        self._until[request] = now + self._patience.waiting

    def connect(self, sequence: Sequence, room: Room, have: int) -> int:
        request = sequence.request
        meet = Meet(request.id, room, have, tokens=len(request.prompt) - have)
        self._loading[request.id] = (sequence, meet)
        self._tell(meet)
        return meet.tokens

    def drop(self, request: str) -> None:
        self._until.pop(request, None)
        if self._loading.pop(request, None) is not None:
            self._tell(Leave(request))

    def lose(self, request: str) -> Sequence | None:
        loading = self._loading.pop(request, None)
        if loading is None:
            return None
        self._tell(Leave(request))
        return loading[0]

    # What prefill engines do.

    def deliver(
        self, request: str, contents: tuple[Content, ...], *, ready_in: Seconds, cached: int, now: Seconds
    ) -> None:
        loading = self._loading.get(request)
        if loading is None:
            return
        meet = loading[1]
        at = max(now + ready_in, self._card.occupy(meet.tokens, now))
        self._card.expect(_Arrival(meet, contents, cached, at - now), at)

    def refused(self, request: str) -> None:
        """There will be no KV in the room, or nobody is there."""
        if request in self._loading:
            self._failed.append(request)

    # Time passes.

    @property
    def next_event(self) -> Seconds | None:
        if self._failed:
            return 0.0  # due
        times = (self._card.next_arrival, *self._until.values())
        return min((t for t in times if t is not None), default=None)

    def advance(self, now: Seconds, progress: Progress) -> None:
        progress.failed += self._failed
        self._failed = []
        for arrival in self._card.arrived(now):
            self._arrive(arrival, progress)
        for request in [r for r, until in self._until.items() if until <= now]:
            del self._until[request]
            progress.failed.append(request)

    def _arrive(self, arrival: _Arrival, progress: Progress) -> None:
        loading = self._loading.pop(arrival.meet.request, None)
        if loading is None:
            return
        sequence, tokens = loading[0], arrival.meet.tokens
        self._until.pop(arrival.meet.request, None)
        sequence.receive(self._cache, arrival.contents, tokens)
        sequence.told_cached = arrival.cached
        size = tokens * self._bytes_per_token
        self._stats.transferred(arrival.seconds, size=size, blocks=len(arrival.contents))
        progress.loaded.append(sequence)

"""The prefill engine's side of rooms: a leg waits for its decode leg, computes, sends, and is answered then.

Either leg may come first. A room is over when its KV has left or its prefill leg has failed; one in which
only a decode leg waits is forgotten after the patience that such a leg has.
"""

from collections.abc import Callable
from dataclasses import dataclass

from pdscale.emulator.blocks import BlockCache, BlockId
from pdscale.emulator.modes import Patience
from pdscale.emulator.network_card import NetworkCard
from pdscale.emulator.sequence import Sequence
from pdscale.emulator.sglang.errands import Errand, Refuse, Send
from pdscale.emulator.transfers import Progress
from pdscale.model.units import Seconds


@dataclass(slots=True, eq=False)
class _Guestroom:
    """``have`` is what the decode leg has, absent until it is here; ``blocks`` are held while sent."""

    number: int
    request: str | None = None
    have: int | None = None
    until: Seconds | None = None
    blocks: tuple[BlockId, ...] = ()


class Hosting:
    """Rooms by number. ``tell`` takes errands."""

    def __init__(
        self,
        patience: Patience,
        card: NetworkCard[_Guestroom],
        cache: BlockCache,
        tell: Callable[[Errand], None],
    ) -> None:
        self._patience = patience
        self._card = card
        self._cache = cache
        self._tell = tell
        self._rooms: dict[int, _Guestroom] = {}
        self._met: list[str] = []
        self._failed: list[str] = []

    @property
    def bootstrapping(self) -> int:
        """Prefill legs whose decode leg is not here."""
        return sum(room.request is not None and room.have is None for room in self._rooms.values())

    def is_taken(self, number: int) -> bool:
        room = self._rooms.get(number)
        return room is not None and room.request is not None

    # A prefill leg's life.

    def expect(self, request: str, number: int, now: Seconds) -> bool:
        room = self._rooms.setdefault(number, _Guestroom(number))
        room.request = request
        room.until = None if room.have is not None else now + self._patience.bootstrap
        return room.have is not None

    def keep(self, sequence: Sequence, number: int, now: Seconds) -> bool:
        """It is computed: hold its blocks until they are sent. False if nobody waits for them."""
        room = self._rooms.get(number)
        if room is None or room.have is None:
            return False
        sequence.flush(self._cache)
        room.blocks = tuple(sequence.blocks)
        contents = tuple(self._cache.read(b) for b in room.blocks[room.have // self._cache.block_size :])
        at = self._card.occupy(sequence.computed - room.have, now)
        self._card.expect(room, at)
        self._tell(Send(number, contents, at - now, sequence.cached))
        return True

    def drop(self, sequence: Sequence, number: int) -> None:
        """It is over without having computed: the decode leg is not told."""
        if not sequence.generated:
            self._rooms.pop(number, None)

    def withdraw(self, request: str) -> None:
        """Its client left while KV was on its way: that will arrive, and the blocks go free then."""
        room = self._of(request)
        if room is not None:
            room.request = None

    def lose(self, request: str) -> bool:
        """It failed: the decode leg is told, if it is here."""
        room = self._of(request)
        if room is None:
            return False
        self._empty(room)
        self._tell(Refuse(room.number, "the prefill leg failed"))
        return True

    # What decode legs do.

    def meet(self, number: int, have: int, now: Seconds) -> None:
        room = self._rooms.setdefault(number, _Guestroom(number))
        room.have, room.until = have, None
        if room.request is None:
            room.until = now + self._patience.waiting
        else:
            self._met.append(room.request)

    def left(self, number: int) -> None:
        """The decode leg has gone without its KV."""
        room = self._rooms.get(number)
        if room is not None and room.request is None:
            del self._rooms[number]
        elif room is not None and room.request is not None:
            self._failed.append(room.request)

    # Time passes.

    @property
    def next_event(self) -> Seconds | None:
        if self._met or self._failed:
            return 0.0  # due
        times = (self._card.next_arrival, *(room.until for room in self._rooms.values()))
        return min((t for t in times if t is not None), default=None)

    def advance(self, now: Seconds, progress: Progress) -> None:
        progress.met += self._met
        progress.failed += self._failed
        self._met, self._failed = [], []
        for room in self._card.arrived(now):
            if self._rooms.get(room.number) is room and room.request is not None:
                progress.sent.append(room.request)
            self._empty(room)
        for room in [r for r in self._rooms.values() if r.until is not None and r.until <= now]:
            room.until = None
            if room.request is None:
                del self._rooms[room.number]
            else:
                progress.failed.append(room.request)

    def _of(self, request: str) -> _Guestroom | None:
        return next((room for room in self._rooms.values() if room.request == request), None)

    def _empty(self, room: _Guestroom) -> None:
        self._cache.release(room.blocks)
        room.blocks = ()
        if self._rooms.get(room.number) is room:
            del self._rooms[room.number]

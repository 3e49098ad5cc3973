"""When KV moves between SGLang engines: rooms in which the two legs of a round meet. No I/O, no clock.

    decode leg    gets memory for its prompt, asks for KV in the room, waits for it     (``visiting``)
    prefill leg   waits for the decode leg, computes, sends, and only then is answered  (``hosting``)

Only what the decode engine's cache lacks is sent. What is kept of the real engine's ways, harmful ones
included: a prefill leg whose client leaves does not tell the decode leg, which waits until its time is up;
a decode leg whose client leaves does tell the prefill leg, which fails. The first token does not travel with
the KV: the decode engine computes the last prompt token again, one step more than the real one takes.
"""

from collections.abc import Mapping
from typing import Any

from pdscale.emulator.blocks import BlockCache
from pdscale.emulator.modes import Mode, Patience
from pdscale.emulator.network_card import NetworkCard
from pdscale.emulator.sequence import Request, Sequence
from pdscale.emulator.sglang.errands import Errand
from pdscale.emulator.sglang.hosting import Hosting
from pdscale.emulator.sglang.visiting import Visiting
from pdscale.emulator.stats import EngineStats
from pdscale.emulator.transfers import Progress
from pdscale.model.units import Seconds
from pdscale.perf.profile import Profile


class Rooms:
    """``Transfers`` of an instance in either mode; ``mode`` changes only while the engine is idle.

    ``decode_cache`` is whether prompts find earlier ones' KV on a decode engine.
    """

    recomputes = False

    def __init__(
        self,
        mode: Mode,
        patience: Patience,
        *,
        decode_cache: bool,
        profile: Profile,
        speed: float,
        cache: BlockCache,
        stats: EngineStats,
    ) -> None:
        self.mode = mode
        self.errands: list[Errand] = []
        self._decode_cache = decode_cache
        self._stats = stats
        # A card for each: only one of them is in use in a mode.
        self.hosting = Hosting(patience, NetworkCard(profile, speed), cache, self._tell)
        self.visiting = Visiting(
            patience,
            NetworkCard(profile, speed),
            cache,
            self._tell,
            stats=stats,
            bytes_per_token=profile.kv_bytes_per_token,
        )

    @property
    def reuses_prefixes(self) -> bool:
        return self.mode is Mode.PREFILL or self._decode_cache

    @property
    def answers_when_sent(self) -> bool:
        return self.mode is Mode.PREFILL

    @property
    def loading(self) -> int:
        return self.visiting.loading

    def expect(self, request: Request, now: Seconds) -> bool:
        room = request.room
        if room is not None and not room.fetches:
            return self.hosting.expect(request.id, room.number, now)
        if room is not None:
            self.visiting.expect(request.id, now)
        return True

    def connect(self, sequence: Sequence, have: int) -> int:
        """What a decode leg had is lost with its memory: it computes that itself then."""
        room = sequence.request.room
        if room is None or not room.fetches or sequence.connected:
            return 0
        sequence.connected = True
        return self.visiting.connect(sequence, room, have)

    def keep(self, sequence: Sequence, now: Seconds) -> Mapping[str, Any] | None:
        """The blocks of a prefill leg stay until they are sent. Nothing is told to its client."""
        room = sequence.request.room
        if room is None or room.fetches or not self.hosting.keep(sequence, room.number, now):
            return None
        return {}

    def drop(self, sequence: Sequence) -> None:
        room = sequence.request.room
        if room is not None and not room.fetches:
            self.hosting.drop(sequence, room.number)
        else:
            self.visiting.drop(sequence.request.id)

    def withdraw(self, request: str) -> None:
        self.hosting.withdraw(request)

    def lose(self, request: str) -> Sequence | None:
        sequence = self.visiting.lose(request)
        if sequence is not None or self.hosting.lose(request):
            self._stats.failed_transfers += 1
        return sequence

    @property
    def next_event(self) -> Seconds | None:
        times = (self.hosting.next_event, self.visiting.next_event)
        return min((t for t in times if t is not None), default=None)

    def advance(self, now: Seconds) -> Progress:
        progress = Progress()
        self.hosting.advance(now, progress)
        self.visiting.advance(now, progress)
        return progress

    def _tell(self, errand: Errand) -> None:
        self.errands.append(errand)

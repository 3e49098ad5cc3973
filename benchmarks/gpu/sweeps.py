"""Which passes are timed, and what is made of their times. Knows neither torch nor a clock."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final, Protocol

from pdscale.perf.measurements import DecodePoint, Measurements, MixedPoint, PrefillPoint

NEW: Final = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)
HISTORIES: Final = (0, 1024, 4096, 16384, 32768)
BATCHES: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256)
CONTEXTS: Final = (256, 1024, 4096, 16384)
CHUNKS: Final = (128, 512, 2048)
BESIDE: Final = (8, 32, 128)


@dataclass(frozen=True, slots=True)
class Part:
    """``batch`` sequences that get ``new`` tokens each after ``history`` in the cache."""

    batch: int
    new: int
    history: int

    @property
    def cached(self) -> int:
        """Tokens of KV after the pass."""
        return self.batch * (self.history + self.new)


class Passes(Protocol):
    """Times one forward pass of the whole model over several parts together, in seconds."""

    def seconds(self, parts: Sequence[Part]) -> float: ...


Tell = Callable[[str, int, int], None]
"""What is being timed, how many passes of it are done, of how many."""


def measured(
    passes: Passes, source: str, *, room: int, most_new: int = NEW[-1], tell: Tell = lambda *_: None
) -> Measurements:
    """All three sweeps, as far as ``room`` tokens of KV hold them."""
    prefill = [
        PrefillPoint(1, p.new, p.history, seconds)
        for (p,), seconds in _timed(passes, "prefill", _prefills(most_new), room, tell)
    ]
    decode = [
        DecodePoint(p.batch, p.cached, seconds)
        for (p,), seconds in _timed(passes, "decode", _decodes(), room, tell)
    ]
    mixed = [
        MixedPoint(chunk.new, chunk.history, p.batch, p.cached, seconds)
        for (chunk, p), seconds in _timed(passes, "mixed", _mixed(most_new), room, tell)
    ]
    return Measurements(source, tuple(prefill), tuple(decode), tuple(mixed))


def _prefills(most_new: int) -> Iterator[tuple[Part, ...]]:
    return ((Part(1, n, h),) for n, h in product(NEW, HISTORIES) if n <= most_new)


def _decodes() -> Iterator[tuple[Part, ...]]:
    """A step adds the last token of each context."""
    return ((Part(b, 1, c - 1),) for b, c in product(BATCHES, CONTEXTS))


def _mixed(most_new: int) -> Iterator[tuple[Part, ...]]:
    """One round's append, with and without a history, beside a running batch."""
    return (
        (Part(1, n, h), Part(b, 1, c - 1))
        for n, h, b, c in product(CHUNKS, HISTORIES[::2], BESIDE, CONTEXTS[1:3])
        if n <= most_new
    )


def _timed(
    passes: Passes, what: str, asked: Iterator[tuple[Part, ...]], room: int, tell: Tell
) -> Iterator[tuple[tuple[Part, ...], float]]:
    fitting = [parts for parts in asked if sum(p.cached for p in parts) <= room]
    for done, parts in enumerate(fitting):
        tell(what, done, len(fitting))
        yield parts, passes.seconds(parts)

"""Which passes are worth measuring, and in which order.

Prefill: lengths in octaves times cached histories, since the fit has a piece per decade and a slope per
token pair. An engine that reports no cached tokens has no histories; then lengths are three to an octave,
and the slope per pair comes from the square of the length alone. Decode: batches times contexts, as far
as KV memory holds them with room for the answers.

The order is drawn: whoever stops early has points all over the range, and an engine that grows warm does
not slow one end of it.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_SHORTEST: Final = 32
_ROOM: Final = 0.8  # of KV memory
_TAIL: Final = 16  # tokens kept for a chat template and for answers


@dataclass(frozen=True, slots=True)
class PrefillAsk:
    """One prompt of ``new`` tokens after ``history`` cached ones, roughly: what it became, usage says."""

    new: int
    history: int


@dataclass(frozen=True, slots=True)
class DecodeAsk:
    """``batch`` streams at a time of ``context`` tokens each."""

    batch: int
    context: int


Ask = PrefillAsk | DecodeAsk


@dataclass(frozen=True, slots=True)
class Bounds:
    """Of the engine, in tokens: one context, one pass, all KV. ``remembers`` if it reports cached tokens."""

    longest: int
    one_pass: int
    kv_tokens: int
    remembers: bool

    @property
    def prompt(self) -> int:
        return min(self.longest - _TAIL, int(_ROOM * self.kv_tokens))


def prefills(bounds: Bounds, *, prompts: Sequence[int], histories: Sequence[int]) -> list[PrefillAsk]:
    lengths = prompts or _lengths(bounds)
    cached = (0, *histories) if bounds.remembers else (0,)
    return [PrefillAsk(n, h) for n in lengths for h in cached if n + h <= bounds.prompt]


def _lengths(bounds: Bounds) -> list[int]:
    """From 32 to one pass: longer prompts are several passes."""
    most = min(bounds.one_pass, bounds.prompt)
    per_octave = 1 if bounds.remembers else 3
    count = int(per_octave * math.log2(max(most, _SHORTEST) / _SHORTEST)) + 1
    return sorted({round(_SHORTEST * 2 ** (i / per_octave)) for i in range(count)})


def decodes(
    bounds: Bounds, *, batches: Sequence[int], contexts: Sequence[int], steps: int
) -> list[DecodeAsk]:
    """``steps`` tokens of each stream have to find room, too."""
    room = _ROOM * bounds.kv_tokens
    return [
        DecodeAsk(b, c)
        for b in batches
        for c in contexts
        if c + steps <= bounds.longest - _TAIL and b * (c + steps) <= room
    ]


def in_turn(prefill: Sequence[PrefillAsk], decode: Sequence[DecodeAsk], rng: random.Random) -> list[Ask]:
    """Both kinds evenly mixed, each in an order that ``rng`` draws."""
    drawn: list[tuple[float, int, Ask]] = []
    kinds: tuple[Sequence[Ask], ...] = (prefill, decode)
    for kind, asks in enumerate(kinds):
        order = rng.sample(asks, len(asks))
        drawn += (((i + 0.5) / len(order), kind, ask) for i, ask in enumerate(order))
    return [ask for _, _, ask in sorted(drawn, key=lambda turn: turn[:2])]

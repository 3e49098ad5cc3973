"""Measured or modelled times of single passes, whatever file they came from.

One point is a pass and its seconds. A prefill point may hold a batch of equal requests, a mixed point runs
one prefill chunk beside decoding sequences. Points of several files of one engine may be added up.
"""

from dataclasses import dataclass

from pdscale.model.units import Seconds, Tokens


@dataclass(frozen=True, slots=True)
class PrefillPoint:
    """``batch`` requests of ``new`` tokens each after ``history`` cached ones each."""

    batch: int
    new: Tokens
    history: Tokens
    seconds: Seconds

    @property
    def tokens(self) -> Tokens:
        return self.batch * self.new

    @property
    def pairs(self) -> float:
        return self.batch * self.new * (self.history + self.new / 2)


@dataclass(frozen=True, slots=True)
class DecodePoint:
    """One step of ``batch`` sequences that hold ``context`` tokens together."""

    batch: float
    context: Tokens
    seconds: Seconds


@dataclass(frozen=True, slots=True)
class MixedPoint:
    """Chunks of ``new`` tokens together, after ``history`` on average, together with a decode step."""

    new: Tokens
    history: Tokens
    batch: int
    context: Tokens
    seconds: Seconds


@dataclass(frozen=True, slots=True)
class TransferPoint:
    """``size`` bytes moved in ``seconds``."""

    size: float
    seconds: Seconds


@dataclass(frozen=True, slots=True)
class Measurements:
    """All points of one engine. ``source`` names the file or files."""

    source: str
    prefill: tuple[PrefillPoint, ...] = ()
    decode: tuple[DecodePoint, ...] = ()
    mixed: tuple[MixedPoint, ...] = ()

    def __add__(self, other: "Measurements") -> "Measurements":
        return Measurements(
            f"{self.source}, {other.source}",
            self.prefill + other.prefill,
            self.decode + other.decode,
            self.mixed + other.mixed,
        )

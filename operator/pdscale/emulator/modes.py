"""What an SGLang instance is, and how long it waits."""

from dataclasses import dataclass
from enum import StrEnum

from pdscale.model.units import Seconds


class Mode(StrEnum):
    """The side of a split request that an instance takes, unless it does everything itself."""

    PREFILL = "prefill"
    DECODE = "decode"


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a leg waits for its other one: a prefill leg ``bootstrap``, a decode leg ``waiting``."""

    bootstrap: Seconds = 300.0
    waiting: Seconds = 300.0

    def __post_init__(self) -> None:
        for name in ("bootstrap", "waiting"):
            if not getattr(self, name) > 0:
                raise ValueError(f"patience.{name} must be above 0s, got {getattr(self, name)}s")

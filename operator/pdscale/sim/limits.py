"""How much one replica takes at a time, and how it is timed."""

from dataclasses import dataclass
from enum import Enum

from pdscale.model.units import Seconds
from pdscale.perf.model import PerformanceModel


class Chunking(Enum):
    """How many prompt tokens a decode replica takes into one iteration."""

    BUDGET = "budget"  # as many as the budget leaves beside the streams: vLLM
    PACED = (
        "paced"  # as many as keep the iteration within the TPOT limit, but never fewer than ``least_chunk``
    )


@dataclass(frozen=True, slots=True)
class EngineSetup:
    """Every replica of one role. ``kv_share`` of the capacity is used, as engines keep some blocks back.

    ``max_batched_tokens`` and ``max_sequences`` are the model's unless given. ``noise`` is the coefficient of
    variation of a pass (``perf.noise``).
    """

    model: PerformanceModel
    max_batched_tokens: int | None = None
    max_sequences: int | None = None
    kv_share: float = 0.92
    chunking: Chunking = Chunking.BUDGET
    least_chunk: int = 64
    noise: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.kv_share <= 1:
            raise ValueError(f"engine.kv_share must be above 0 and at most 1, got {self.kv_share}")
        if self.least_chunk < 1:
            raise ValueError(f"engine.least_chunk must be at least 1 token, got {self.least_chunk}")
        if not 0 <= self.noise < 1:
            raise ValueError(f"engine.noise must be at least 0 and below 1, got {self.noise}")
        if self.batched_tokens <= self.sequences:
            raise ValueError(
                f"engine.max_batched_tokens must be above max_sequences ({self.sequences}), so that prompts "
                f"get on beside a full batch, got {self.batched_tokens}"
            )

    @property
    def batched_tokens(self) -> int:
        return self.max_batched_tokens or self.model.max_batched_tokens

    @property
    def sequences(self) -> int:
        return self.max_sequences or self.model.max_sequences

    @property
    def kv_tokens(self) -> int:
        return int(self.model.kv_capacity * self.kv_share)


def paced_chunk(
    model: PerformanceModel, *, most: int, least: int, done: int, batch: int, context: int, limit: Seconds
) -> int:
    """The largest chunk in least..most whose iteration stays within ``limit``; ``least`` if none does."""
    low, high = least, most
    if high <= low or _mixed(model, high, done, batch, context) <= limit:
        return high
    while high - low > least:
        middle = (low + high) // 2
        if _mixed(model, middle, done, batch, context) <= limit:
            low = middle
        else:
            high = middle
    return low


def _mixed(model: PerformanceModel, new: int, done: int, batch: int, context: int) -> Seconds:
    return model.iteration_seconds([(new, done)], batch=batch, context=context)

"""A model that is slower than another by a factor: what a server makes of the GPU times of a grid.

Against Dynamo's measured H200 worker a grid is off by 1.19 (prefill) and 1.13 (steps), so the known grids
times 1.15, plus 10 ms per request which belong to the request and not to the pass, come close to a real
server.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from pdscale.model.units import Seconds, Tokens
from pdscale.perf.model import PerformanceModel, StepLine
from pdscale.perf.profile import Profile, Segment


@dataclass(frozen=True, slots=True)
class Scaled:
    """``model`` with prefills, steps and mixed steps ``factor`` times as long. Transfers stay as they are."""

    model: PerformanceModel
    factor: float

    def __post_init__(self) -> None:
        if not 0 < self.factor < float("inf"):
            raise ValueError(f"scaled.factor must be above 0 and finite, got {self.factor}")

    @property
    def name(self) -> str:
        return self.model.name

    @property
    def source(self) -> str:
        return f"{self.model.source}; times {self.factor:g}"

    @property
    def kv_capacity(self) -> Tokens:
        return self.model.kv_capacity

    @property
    def kv_bytes_per_token(self) -> float:
        return self.model.kv_bytes_per_token

    @property
    def max_batched_tokens(self) -> int:
        return self.model.max_batched_tokens

    @property
    def max_sequences(self) -> int:
        return self.model.max_sequences

    def prefill_seconds(self, new: Tokens, history: Tokens = 0.0) -> Seconds:
        return self.factor * self.model.prefill_seconds(new, history)

    def prefill_batch_seconds(self, chunks: Iterable[tuple[Tokens, Tokens]]) -> Seconds:
        return self.factor * self.model.prefill_batch_seconds(chunks)

    def step_seconds(self, batch: float, context: Tokens) -> Seconds:
        return self.factor * self.model.step_seconds(batch, context)

    def step_line(self, batch: float, context: Tokens) -> StepLine:
        line = self.model.step_line(batch, context)
        return StepLine(self.factor * line.fixed, self.factor * line.per_token, line.up_to)

    def iteration_seconds(
        self, chunks: Iterable[tuple[Tokens, Tokens]], *, batch: float, context: Tokens
    ) -> Seconds:
        return self.factor * self.model.iteration_seconds(chunks, batch=batch, context=context)

    def transfer_seconds(self, tokens: Tokens) -> Seconds:
        return self.model.transfer_seconds(tokens)


def rescaled(profile: Profile, *, prefill: float, decode: float) -> Profile:
    """A profile whose prefills and decode steps take so many times as long."""
    if prefill == decode == 1:
        return profile
    return replace(
        profile,
        prefill=tuple(_times(segment, prefill) for segment in profile.prefill),
        decode=tuple(_times(segment, decode) for segment in profile.decode),
    )


def _times(segment: Segment, factor: float) -> Segment:
    return Segment(
        segment.up_to, factor * segment.fixed, factor * segment.per_item, factor * segment.per_pair
    )

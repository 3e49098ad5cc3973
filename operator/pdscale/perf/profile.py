"""How long one replica takes: the performance model that planner, router, emulator and simulator share.

Three affine functions, each in pieces (AMPD's T_pre, T_dec and T_kv, fitted per segment):

    prefill  = a + b * N + c * Q      N new tokens, Q = sum of n_i * (h_i + n_i / 2) token pairs
    step     = a + b * B + c * S      B running sequences, S sum of their contexts
    transfer = e + tokens * kv_bytes_per_token / bandwidth

and one rule that combines the first two for an iteration that does both at once.

The second-order term Q is attention: every new token looks at its history and at half of the new ones.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from pdscale.model.units import Seconds, Tokens
from pdscale.perf.model import StepLine


@dataclass(frozen=True)  # without slots, for mypyc: a simulated round asks these a dozen times
class Segment:
    """Coefficients that hold up to and including ``up_to`` (tokens or sequences)."""

    up_to: float
    fixed: Seconds
    per_item: Seconds
    per_pair: Seconds

    def seconds(self, items: float, pairs: float) -> Seconds:
        return max(0.0, self.fixed + self.per_item * items + self.per_pair * pairs)


@dataclass(frozen=True)
class Profile:
    """Measured performance of one replica of one model on one kind of GPU.

    ``prefill`` pieces are ordered by new tokens, ``decode`` pieces by batch. ``kv_capacity`` is in tokens.
    ``source`` says where the figures were measured and how well they fit.
    """

    name: str
    source: str
    prefill: tuple[Segment, ...]
    decode: tuple[Segment, ...]
    kv_capacity: Tokens
    kv_bytes_per_token: float
    transfer_bandwidth: float
    transfer_fixed: Seconds = 0.005
    max_batched_tokens: int = 8192
    max_sequences: int = 256

    def __post_init__(self) -> None:
        for kind, segments in (("prefill", self.prefill), ("decode", self.decode)):
            if not segments or segments[-1].up_to != math.inf:
                raise ValueError(f"profile {self.name}: {kind} must end with an open segment")
            if list(segments) != sorted(segments, key=lambda s: s.up_to):
                raise ValueError(f"profile {self.name}: {kind} segments must be in ascending order")
            for s in segments:
                figures = (s.fixed, s.per_item, s.per_pair)
                if not all(math.isfinite(x) for x in figures) or min(s.per_item, s.per_pair) < 0:
                    raise ValueError(
                        f"profile {self.name}: {kind} coefficients must be finite, and slopes at "
                        f"least 0, got {figures}"
                    )
        for field in ("kv_capacity", "kv_bytes_per_token", "transfer_bandwidth"):
            figure = getattr(self, field)
            if not figure > 0 or not math.isfinite(figure):
                raise ValueError(f"profile {self.name}: {field} must be above 0, got {figure}")
        for field in ("max_batched_tokens", "max_sequences"):
            if getattr(self, field) < 1:
                raise ValueError(
                    f"profile {self.name}: {field} must be at least 1, got {getattr(self, field)}"
                )

    def prefill_seconds(self, new: Tokens, history: Tokens = 0.0) -> Seconds:
        """One forward pass over ``new`` tokens that see ``history`` tokens of KV."""
        return self.prefill_batch_seconds([(new, history)])

    def prefill_batch_seconds(self, chunks: Iterable[tuple[Tokens, Tokens]]) -> Seconds:
        """One forward pass over several (new, history) chunks together."""
        new, pairs = 0.0, 0.0
        for n, h in chunks:
            new += n
            pairs += n * (h + n / 2)
        return _piece(self.prefill, new).seconds(new, pairs) if new else 0.0

    def step_seconds(self, batch: float, context: Tokens) -> Seconds:
        """One decode iteration of ``batch`` sequences whose contexts add up to ``context`` tokens."""
        return _piece(self.decode, batch).seconds(batch, context) if batch else 0.0

    def step_line(self, batch: float, context: Tokens) -> StepLine:
        """The line in resident tokens that ``step_seconds`` follows for this batch."""
        if not batch:
            return StepLine(0.0, 0.0, math.inf)
        piece = _piece(self.decode, batch)
        fixed = piece.fixed + piece.per_item * batch
        if fixed + piece.per_pair * context >= 0:
            return StepLine(fixed, piece.per_pair, math.inf)
        return StepLine(0.0, 0.0, -fixed / piece.per_pair if piece.per_pair else math.inf)

    def iteration_seconds(
        self, chunks: Iterable[tuple[Tokens, Tokens]], *, batch: float, context: Tokens
    ) -> Seconds:
        """One pass over prefill chunks and ``batch`` decoding sequences together.

        The weights are read once, not twice: a decoding sequence is one more new token of the
        prefill pass and adds only the reading of its own context. Never less than the decode step
        alone. Against the ``mixed`` rows of nine bf16 AIConfigurator grids (66 to 84 points each, read as
        `measured_tables` says) the median error is 1.0 to 3.3 %, P90 4 to 12 %. Of the two grids with fp8
        weights small mixed steps take up to 1.7 times as long (median error 11 and 18 %).
        """
        chunks = [c for c in chunks if c[0] > 0]
        step = self.step_seconds(batch, context)
        if not chunks or not batch:
            return step if batch else self.prefill_batch_seconds(chunks)
        attention = _piece(self.decode, batch).per_pair * context
        return max(step, self.prefill_batch_seconds([*chunks, (batch, 0.0)]) + attention)

    def transfer_seconds(self, tokens: Tokens) -> Seconds:
        """KV of ``tokens`` tokens from one replica to another."""
        if tokens <= 0:
            return 0.0
        return self.transfer_fixed + tokens * self.kv_bytes_per_token / self.transfer_bandwidth


def _piece(segments: tuple[Segment, ...], items: float) -> Segment:
    for segment in segments:  # a generator would cost three times as much, a dozen times per routed round
        if items <= segment.up_to:
            return segment
    return segments[-1]

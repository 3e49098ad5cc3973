"""What every performance model answers, whatever it was made from.

Simulator, planner and emulator time a replica through this protocol alone: `Profile` (affine in pieces, from
a fit) and `GridModel` (interpolated measurements) speak it, and `Scaled` makes a server out of either. Units
are seconds, tokens and bytes. Every answer is for one forward pass of one replica; queueing, tokenisation and
network are not in it.

Decoding is where a simulator spends its events, so a model must say more than the time of one step: between
two changes of its batch an engine makes k steps with B sequences whose contexts grow by B tokens a step.
Every form we know is affine in the resident tokens S within some range of S, hence `step_line`: with step =
fixed + per_token * S,

    sum over i < k of step(S + i B) = k (fixed + per_token * S) + per_token * B k (k - 1) / 2

which `runs` adds up over the ranges, exactly and without iterating.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from pdscale.model.units import Seconds, Tokens


@dataclass(frozen=True, slots=True)
class StepLine:
    """Step time of a fixed batch as a line in its resident tokens, up to and including ``up_to`` of them.

    ``up_to`` is ``inf`` on the last piece and is always at least the context that was asked for.
    """

    fixed: Seconds
    per_token: Seconds
    up_to: Tokens

    def seconds(self, context: Tokens) -> Seconds:
        return self.fixed + self.per_token * context


class PerformanceModel(Protocol):
    """How long one replica of one model on one kind of GPU takes.

    Times are never negative, grow with every argument up to measurement noise, and are zero for no work.
    """

    @property
    def name(self) -> str: ...

    @property
    def source(self) -> str:
        """Where the figures come from and how well they fit."""
        ...

    @property
    def kv_capacity(self) -> Tokens:
        """Tokens whose KV fits into one replica's memory."""
        ...

    @property
    def kv_bytes_per_token(self) -> float: ...

    @property
    def max_batched_tokens(self) -> int:
        """Most new tokens of one pass (the engine's token budget)."""
        ...

    @property
    def max_sequences(self) -> int: ...

    def prefill_seconds(self, new: Tokens, history: Tokens = 0.0) -> Seconds:
        """One pass over ``new`` tokens that see ``history`` tokens of KV."""
        ...

    def prefill_batch_seconds(self, chunks: Iterable[tuple[Tokens, Tokens]]) -> Seconds:
        """One pass over several (new, history) chunks together."""
        ...

    def step_seconds(self, batch: float, context: Tokens) -> Seconds:
        """One decode step of ``batch`` sequences whose contexts add up to ``context`` tokens."""
        ...

    def step_line(self, batch: float, context: Tokens) -> StepLine:
        """The line that ``step_seconds`` follows for this batch from ``context`` tokens on.

        ``step_line(b, s).seconds(t) == step_seconds(b, t)`` for s <= t <= ``up_to``, up to rounding.
        """
        ...

    def iteration_seconds(
        self, chunks: Iterable[tuple[Tokens, Tokens]], *, batch: float, context: Tokens
    ) -> Seconds:
        """One pass over prefill chunks and ``batch`` decoding sequences together (a mixed step)."""
        ...

    def transfer_seconds(self, tokens: Tokens) -> Seconds:
        """KV of ``tokens`` tokens from one replica to another over an idle link."""
        ...

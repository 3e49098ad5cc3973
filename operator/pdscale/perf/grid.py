"""A performance model that interpolates measured passes: exact at the points.

Prefill. A pass over chunks (n_i, h_i) is described by N = sum n_i and Q = sum n_i (h_i + n_i / 2), as in
`Profile`; one request of N new tokens does the same work after a history of h = Q / N - N / 2 tokens. The
grid is read as columns of new tokens, each a curve over history, and queried at (N, h), linearly between
columns. Several short prompts together have h < 0, where a column goes on with its mean slope. Only rows of
one request are used; those of larger batches test the reduction to (N, Q): P90 of 0.7 to 5.7 %.

Decode. Columns of batch size, each a curve over the *total* resident tokens S (at equal S neighbouring
columns differ least), linearly between columns. Dips along a column are raised: 6 of 2163 points of the known
grids dip, by rounding of their source.

A mixed step follows `Profile.iteration_seconds`: one prefill pass in which each decoding sequence is one
more new token, plus the attention of these. Mixed rows are not interpolated, only predicted (see there for
errors).

Below the smallest column times stay level (the weights are read anyway); beyond the largest they go on as
they went between the last two. With every second column left out, the eleven known grids are predicted there
with a median error of 0.8 to 3.7 % (prefill) and 1.0 to 2.9 % (decode), P90 3 to 10 %; with all columns less.
"""

import math
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass

from pdscale.model.units import Seconds, Tokens
from pdscale.perf.curve import Curve, Line, curve, never_falling
from pdscale.perf.engine import Engine
from pdscale.perf.measurements import DecodePoint, Measurements, PrefillPoint
from pdscale.perf.model import StepLine


@dataclass(frozen=True, slots=True)
class Columns:
    """Curves by ascending ``keys``; lines between them, level below the first one."""

    keys: tuple[float, ...]
    curves: tuple[Curve, ...]

    def __post_init__(self) -> None:
        if not self.keys or list(self.keys) != sorted(set(self.keys)):
            raise ValueError(f"columns must ascend and be at least 1, got {self.keys}")

    def line(self, key: float, x: float) -> Line:
        """The line at x of the column that ``key`` would have."""
        keys, curves = self.keys, self.curves
        if key <= keys[0] or len(keys) == 1:
            return curves[0].line(x)
        if key >= keys[-1]:
            return self._beyond(key, x)
        left = bisect_right(keys, key) - 1
        share = (key - keys[left]) / (keys[left + 1] - keys[left])
        return curves[left].line(x).mixed(curves[left + 1].line(x), share) if share else curves[left].line(x)

    def _beyond(self, key: float, x: float) -> Line:
        """The last column, higher by what the last two differ by where it begins; its slopes stay."""
        before, last = self.curves[-2:]
        line = last.line(x)
        rise = max(0.0, last.values[0] - before.at(last.knots[0])) / (self.keys[-1] - self.keys[-2])
        return Line(line.fixed + rise * (key - self.keys[-1]), line.slope, line.up_to)


def columns(curves: Iterable[tuple[float, Curve]]) -> Columns:
    keys, made = zip(*sorted(curves, key=lambda column: column[0]), strict=True)
    return Columns(keys, made)


@dataclass(frozen=True, slots=True)
class GridModel:
    """Interpolated measurements of one engine; build it with `grid_model`."""

    engine: Engine
    source: str
    prefill: Columns
    decode: Columns

    @property
    def name(self) -> str:
        return self.engine.name

    @property
    def kv_capacity(self) -> Tokens:
        return self.engine.kv_capacity

    @property
    def kv_bytes_per_token(self) -> float:
        return self.engine.kv_bytes_per_token

    @property
    def max_batched_tokens(self) -> int:
        return self.engine.max_batched_tokens

    @property
    def max_sequences(self) -> int:
        return self.engine.max_sequences

    def transfer_seconds(self, tokens: Tokens) -> Seconds:
        return self.engine.transfer_seconds(tokens)

    def prefill_seconds(self, new: Tokens, history: Tokens = 0.0) -> Seconds:
        if new <= 0:
            return 0.0
        return max(0.0, self.prefill.line(new, history).at(history))

    def prefill_batch_seconds(self, chunks: Iterable[tuple[Tokens, Tokens]]) -> Seconds:
        new, pairs = 0.0, 0.0
        for n, h in chunks:
            new += n
            pairs += n * (h + n / 2)
        return self.prefill_seconds(new, pairs / new - new / 2) if new else 0.0

    def step_seconds(self, batch: float, context: Tokens) -> Seconds:
        return self.decode.line(batch, context).at(context) if batch else 0.0

    def step_line(self, batch: float, context: Tokens) -> StepLine:
        if not batch:
            return StepLine(0.0, 0.0, math.inf)
        line = self.decode.line(batch, context)
        return StepLine(line.fixed, line.slope, line.up_to)

    def iteration_seconds(
        self, chunks: Iterable[tuple[Tokens, Tokens]], *, batch: float, context: Tokens
    ) -> Seconds:
        chunks = [c for c in chunks if c[0] > 0]
        step = self.step_seconds(batch, context)
        if not chunks or not batch:
            return step if batch else self.prefill_batch_seconds(chunks)
        attention = step - self.step_seconds(batch, 0.0)
        together = self.prefill_batch_seconds([*chunks, (batch, 0.0)]) + attention
        return max(step, together)


def grid_model(points: Measurements, engine: Engine) -> GridModel:
    """The model that interpolates ``points``; refuses what has no prefill of one request or no decode."""
    single = [p for p in points.prefill if p.batch == 1]
    for kind, rows in (("prefill rows of batch_size 1", single), ("decode rows", points.decode)):
        if not rows:
            raise ValueError(f"{points.source}: {kind} are needed for a model that interpolates, got none")
    return GridModel(engine, points.source, _prefill_columns(single), _decode_columns(points.decode))


def _prefill_columns(points: Iterable[PrefillPoint]) -> Columns:
    """Curves over history per number of new tokens; a column of one point gets its neighbour's slope."""
    rows_of: dict[float, list[tuple[float, float]]] = {}
    for p in points:
        rows_of.setdefault(p.new, []).append((p.history, p.seconds))
    out: list[tuple[float, Curve]] = []
    per_pair = 0.0
    for new, rows in sorted(rows_of.items()):
        known = len({history for history, _ in rows}) > 1
        column = curve(rows, slope=None if known else per_pair * new)
        per_pair = column.before / new
        out.append((new, column))
    return columns(out)


def _decode_columns(points: Iterable[DecodePoint]) -> Columns:
    rows_of: dict[float, list[tuple[float, float]]] = {}
    for p in points:
        rows_of.setdefault(p.batch, []).append((p.context, p.seconds))
    return columns((batch, curve(never_falling(rows))) for batch, rows in rows_of.items())

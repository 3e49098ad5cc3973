"""A `Profile` from measurements, with how far off it is.

Pieces: prefill by new tokens (up to 128 the weights' reading hides the work, from 1024 the tensor cores are
busy), decode by batch (up to 64, where the kernels change). A piece with too few points joins its
neighbour. Errors are given over all points, and over a fifth of them held out from a second fit: with three
coefficients per piece the two are alike unless the form is wrong or the points too few.
"""

import math
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

from pdscale.perf.engine import Engine
from pdscale.perf.fitting import FitError, fit_affine, relative_error
from pdscale.perf.measurements import DecodePoint, Measurements, MixedPoint, PrefillPoint, TransferPoint
from pdscale.perf.profile import Profile, Segment

PREFILL_BREAKS: Final = (128.0, 1024.0)
DECODE_BREAKS: Final = (64.0,)
FEWEST: Final = 8  # points of a piece: five more than it has coefficients
HELD_OUT: Final = 5  # one point in five

_Point = TypeVar("_Point", PrefillPoint, DecodePoint, MixedPoint)


class PassTimes(Protocol):
    """What fit errors are taken of: any performance model."""

    def prefill_batch_seconds(self, chunks: Iterable[tuple[float, float]]) -> float: ...

    def step_seconds(self, batch: float, context: float) -> float: ...

    def iteration_seconds(
        self, chunks: Iterable[tuple[float, float]], *, batch: float, context: float
    ) -> float: ...


@dataclass(frozen=True, slots=True)
class Errors:
    """Errors per kind of pass; absent where there are no points."""

    prefill: FitError | None
    decode: FitError | None
    mixed: FitError | None


@dataclass(frozen=True, slots=True)
class Fit:
    """A profile, its errors on the points it was fitted to, and on points another fit had not seen.

    Mixed points are never fitted: both of their errors test `Profile.iteration_seconds`.
    """

    profile: Profile
    errors: Errors
    held_out: Errors


def fit_profile(points: Measurements, engine: Engine, *, rng: random.Random) -> Fit:
    """Fit all points, and judge the form by a random fifth; ``rng`` chooses it."""
    profile = _profile(points, engine)
    seen, unseen = _split(points, rng)
    return Fit(profile, model_errors(profile, points), model_errors(_profile(seen, engine), unseen))


def model_errors(model: PassTimes, points: Measurements) -> Errors:
    """Relative errors of any model on any points."""

    def error(rows: Sequence[_Point], predicted: Callable[[_Point], float]) -> FitError | None:
        return relative_error([predicted(p) for p in rows], [p.seconds for p in rows]) if rows else None

    return Errors(
        error(points.prefill, lambda p: model.prefill_batch_seconds([(p.new, p.history)] * p.batch)),
        error(points.decode, lambda p: model.step_seconds(p.batch, p.context)),
        error(
            points.mixed,
            lambda p: model.iteration_seconds([(p.new, p.history)], batch=p.batch, context=p.context),
        ),
    )


def fit_transfer(points: Sequence[TransferPoint]) -> tuple[float, float, FitError]:
    """``(fixed seconds, bytes/s, error)`` of time = fixed + size / bandwidth."""
    measured = [p.seconds for p in points]
    fixed, per_byte = fit_affine([(p.size,) for p in points], measured)
    if per_byte <= 0:
        raise ValueError(f"transfer times must grow with size, got none that do among {len(points)} points")
    return fixed, 1 / per_byte, relative_error([fixed + per_byte * p.size for p in points], measured)


def _profile(points: Measurements, engine: Engine) -> Profile:
    prefill = [((p.tokens, p.pairs), p.seconds) for p in points.prefill]
    decode = [((p.batch, p.context), p.seconds) for p in points.decode]
    for kind, rows in (("prefill", prefill), ("decode", decode)):
        if len(rows) < 3:
            raise ValueError(f"{points.source}: a fit needs at least 3 {kind} points, got {len(rows)}")
    return Profile(
        name=engine.name,
        source=points.source,
        prefill=_pieces(prefill, PREFILL_BREAKS),
        decode=_pieces(decode, DECODE_BREAKS),
        kv_capacity=engine.kv_capacity,
        kv_bytes_per_token=engine.kv_bytes_per_token,
        transfer_bandwidth=engine.transfer_bandwidth,
        transfer_fixed=engine.transfer_fixed,
        max_batched_tokens=engine.max_batched_tokens,
        max_sequences=engine.max_sequences,
    )


_Row = tuple[tuple[float, float], float]


def _pieces(rows: Sequence[_Row], breaks: Sequence[float]) -> tuple[Segment, ...]:
    out = []
    for low, high in _ranges([items for (items, _), _ in rows], breaks):
        inside = [row for row in rows if low < row[0][0] <= high]
        fixed, per_item, per_pair = fit_affine([x for x, _ in inside], [y for _, y in inside])
        out.append(Segment(high, fixed, per_item, per_pair))
    return tuple(out)


def _ranges(items: Sequence[float], breaks: Sequence[float]) -> list[tuple[float, float]]:
    """(above, up to) of each piece; one of fewer than `FEWEST` points is joined to its neighbour."""
    ranges: list[tuple[float, float]] = []
    low = 0.0
    for high in (*breaks, math.inf):
        enough = sum(low < x <= high for x in items) >= FEWEST
        if enough:
            ranges.append((low, high))
            low = high
        elif math.isinf(high):
            above = ranges.pop()[0] if ranges else 0.0
            ranges.append((above, high))
    return ranges


def _split(points: Measurements, rng: random.Random) -> tuple[Measurements, Measurements]:
    prefill, unseen_prefill = _sample(points.prefill, rng)
    decode, unseen_decode = _sample(points.decode, rng)
    return (
        Measurements(points.source, prefill, decode),
        Measurements(points.source, unseen_prefill, unseen_decode, points.mixed),
    )


def _sample(rows: Sequence[_Point], rng: random.Random) -> tuple[tuple[_Point, ...], tuple[_Point, ...]]:
    held = set(rng.sample(range(len(rows)), len(rows) // HELD_OUT))
    return (
        tuple(row for i, row in enumerate(rows) if i not in held),
        tuple(row for i, row in enumerate(rows) if i in held),
    )

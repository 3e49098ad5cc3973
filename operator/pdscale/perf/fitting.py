"""Coefficients from measurements: relative least squares with slopes that cannot be negative.

Minimises the sum of squared *relative* errors, because a model is used over four decades: without weights the
longest prefill of a grid (10 s) would decide over the shortest (7 ms). Slopes are non-negative, as AMPD's fit
and physics want them; the constant may be negative where a piece starts far from zero.

The solution is exact: with at most two slopes there are four sets of them that may be positive, each is
solved by the normal equations of its scaled columns, and the best one without a negative slope is taken. An
active-set method would pay from five slopes on, and the router's image, which imports this package, has no
numpy.
"""

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pdscale.model.quantiles import quantile

Row = Sequence[float]


@dataclass(frozen=True, slots=True)
class FitError:
    """Absolute relative errors of a fit over its points: median, 90th percentile, mean and largest."""

    points: int
    median: float
    p90: float
    mean: float
    largest: float

    def __str__(self) -> str:
        return f"median {self.median:.1%}, P90 {self.p90:.1%} of {self.points} points"


def relative_error(predicted: Sequence[float], measured: Sequence[float]) -> FitError:
    """How far off ``predicted`` is, relative to ``measured`` (all above zero). At least one point."""
    errors = sorted(abs(p / m - 1) for p, m in zip(predicted, measured, strict=True))
    if not errors:
        raise ValueError("fit error needs at least 1 point, got 0")
    count = len(errors)
    return FitError(
        points=count,
        median=quantile(errors, 0.5),
        p90=quantile(errors, 0.9),
        mean=sum(errors) / count,
        largest=errors[-1],
    )


def fit_affine(rows: Sequence[Row], measured: Sequence[float]) -> list[float]:
    """``[constant, slope...]`` of measured = constant + sum of slope_j * row_j, slopes at least 0.

    Relative least squares. Needs as many rows as unknowns. A column that never changes gets slope 0.
    """
    width = 1 + len(rows[0]) if rows else 1
    if len(rows) < width:
        raise ValueError(f"a fit of {width} coefficients needs at least {width} points, got {len(rows)}")
    weights = [1 / y for y in measured]
    columns = [
        weights,
        *([row[j] * w for row, w in zip(rows, weights, strict=True)] for j in range(width - 1)),
    ]
    best, least = [0.0] * width, math.inf
    for count in range(width):
        for chosen in itertools.combinations(range(1, width), count):
            solution = _least_squares([columns[j] for j in (0, *chosen)])
            if solution is None or min(solution[1:], default=0.0) < 0:
                continue
            full = [0.0] * width
            for j, x in zip((0, *chosen), solution, strict=True):
                full[j] = x
            residual = _residual(columns, full)
            if residual < least:
                best, least = full, residual
    return best


def _least_squares(columns: Sequence[Sequence[float]]) -> list[float] | None:
    """x that minimises |sum of x_j column_j - 1|^2, or nothing if the columns depend on each other."""
    scales = [math.sqrt(sum(v * v for v in column)) or 1.0 for column in columns]
    unit = [[v / s for v in column] for column, s in zip(columns, scales, strict=True)]
    system = [[_dot(a, b) for b in unit] + [sum(a)] for a in unit]
    solution = _solved(system)
    return None if solution is None else [x / s for x, s in zip(solution, scales, strict=True)]


def _solved(system: list[list[float]]) -> list[float] | None:
    """Gauss-Jordan elimination with pivoting of a symmetric system, its right side in the last column."""
    size = len(system)
    for j in range(size):
        pivot = max(range(j, size), key=lambda i: abs(system[i][j]))
        if abs(system[pivot][j]) < 1e-12:  # the columns have length 1
            return None
        system[j], system[pivot] = system[pivot], system[j]
        system[j] = [v / system[j][j] for v in system[j]]
        for i in range(size):
            if i != j:
                system[i] = [v - system[i][j] * w for v, w in zip(system[i], system[j], strict=True)]
    return [row[-1] for row in system]


def _residual(columns: Sequence[Sequence[float]], solution: Sequence[float]) -> float:
    return sum((_dot(row, solution) - 1) ** 2 for row in zip(*columns, strict=True))


def _dot(left: Iterable[float], right: Iterable[float]) -> float:
    return sum(a * b for a, b in zip(left, right, strict=True))

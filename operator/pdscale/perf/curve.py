"""Straight lines between measured points, continued beyond them by the nearest one."""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Line(NamedTuple):  # made at every look-up, and a tuple is made three times as fast as a dataclass
    """y = fixed + slope * x, up to and including ``up_to``."""

    fixed: float
    slope: float
    up_to: float

    def at(self, x: float) -> float:
        return self.fixed + self.slope * x

    def mixed(self, other: "Line", share: float) -> "Line":
        """``share`` of the way from this line to another, as far as both hold."""
        return Line(
            self.fixed + share * (other.fixed - self.fixed),
            self.slope + share * (other.slope - self.slope),
            min(self.up_to, other.up_to),
        )


@dataclass(frozen=True, slots=True)
class Curve:
    """A function known at ``knots`` (ascending, distinct). ``before`` is the slope below the first knot."""

    knots: tuple[float, ...]
    values: tuple[float, ...]
    before: float

    def __post_init__(self) -> None:
        if not self.knots or any(b <= a for a, b in zip(self.knots, self.knots[1:], strict=False)):
            raise ValueError(f"curve.knots must be ascending and at least 1, got {self.knots}")

    def line(self, x: float) -> Line:
        """The line on which x lies; a curve of one point is level, but for what comes before it."""
        if x < self.knots[0]:
            return self._through(0, self.before, self.knots[0])
        right = bisect_right(self.knots, x)
        if len(self.knots) == 1:
            return self._through(0, self.before, math.inf)
        last = len(self.knots) - 1
        left = min(right - 1, last - 1)
        slope = (self.values[left + 1] - self.values[left]) / (self.knots[left + 1] - self.knots[left])
        return self._through(left, slope, self.knots[right] if right <= last else math.inf)

    def at(self, x: float) -> float:
        return self.line(x).at(x)

    def _through(self, index: int, slope: float, up_to: float) -> Line:
        return Line(self.values[index] - slope * self.knots[index], slope, up_to)


def curve(points: Sequence[tuple[float, float]], *, slope: float | None = None) -> Curve:
    """A curve through points in any order; the mean of those with the same x.

    Below the first knot, and everywhere if there is but one, it goes on with ``slope`` per x or, by
    default, with the mean slope from the first knot to the last, never downwards: the first segment of a
    measured curve is short and mostly noise.
    """
    at: dict[float, list[float]] = {}
    for x, y in points:
        at.setdefault(x, []).append(y)
    knots = tuple(sorted(at))
    values = tuple(sum(at[x]) / len(at[x]) for x in knots)
    if slope is None:
        slope = (values[-1] - values[0]) / (knots[-1] - knots[0]) if len(knots) > 1 else 0.0
    return Curve(knots, values, max(0.0, slope))


def never_falling(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points in order of x, each raised to the highest before it."""
    out: list[tuple[float, float]] = []
    for x, y in sorted(points):
        out.append((x, max(y, out[-1][1] if out else y)))
    return out

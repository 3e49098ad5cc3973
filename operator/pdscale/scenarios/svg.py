"""Line and scatter plots as SVG text, so that a report is one file without a library or a network.

One plot is a `Chart` of `Line`s. Colours are Okabe and Ito's, which people with any colour vision tell apart;
beyond them lines are dashed.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

COLOURS: Final = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#7f7f7f", "#a6a01c")
DASHES: Final = ("", "6 3", "2 2")
WIDTH: Final = 560
HEIGHT: Final = 330
LEFT: Final = 56
TOP: Final = 30
RIGHT: Final = 12
BOTTOM: Final = 44
LEGEND_ROW: Final = 16


@dataclass(frozen=True, slots=True)
class Line:
    """``look`` is its number among colours and dashes: the same rule looks the same in all charts.
    Without a ``name`` it is not in the legend.

    ``steps``: a value holds until the next point. ``marks``: points are drawn, and not joined.
    """

    name: str
    points: tuple[tuple[float, float], ...]
    look: int = 0
    steps: bool = False
    marks: bool = False


@dataclass(frozen=True, slots=True)
class Band:
    """What lies between two values, (x, low, high) from left to right, behind the lines."""

    points: tuple[tuple[float, float, float], ...]
    look: int = 0


@dataclass(frozen=True, slots=True)
class Chart:
    """``limit`` draws an upright line at that x. ``y_range`` fixes both ends, else it is 0 and the data's.
    ``from_zero``: the x axis has its zero, whatever the data."""

    title: str
    x: str
    y: str
    lines: tuple[Line, ...]
    limit: float | None = None
    y_range: tuple[float, float] | None = None
    log_x: bool = False
    from_zero: bool = True
    bands: tuple[Band, ...] = ()


def ticks(low: float, high: float, *, about: int = 5) -> list[float]:
    """Round numbers from ``low`` to ``high``: steps of 1, 2 or 5 times a power of ten."""
    if not high > low:
        return [low]
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [k * step for k in range(first, math.floor(high / step + 1e-9) + 1)]


def decades(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten within the range."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found = [m * 10.0**p for p in powers for m in (1, 2, 5)]
    return [v for v in found if low * 0.999 <= v <= high * 1.001]


class _Scale:
    """From values to positions between ``start`` and ``stop`` on the page."""

    def __init__(self, low: float, high: float, start: float, stop: float, *, log: bool = False) -> None:
        self.low, self.high, self.log = low, high if high > low else low + 1, log
        self._start, self._stop = start, stop

    def __call__(self, value: float) -> float:
        if self.log:
            value = max(value, self.low)
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self._start + share * (self._stop - self._start)

    @property
    def ticks(self) -> list[float]:
        return decades(self.low, self.high) if self.log else ticks(self.low, self.high)


def svg(chart: Chart) -> str:
    """One ``<svg>`` element."""
    named = [line for line in chart.lines if line.name]
    legend = LEGEND_ROW * (0.5 + math.ceil(len(named) / 2))
    x, y = _scales(chart)
    body = [
        f'<text x="{LEFT}" y="18" class="title">{escape(chart.title)}</text>',
        *_axes(chart, x, y),
        *(_filled(band, x, y) for band in chart.bands),
        *(_drawn(line, x, y) for line in chart.lines),
        *_legend(named),
    ]
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT + legend}" role="img" aria-label="{escape(chart.title)}">'
        + "".join(body)
        + "</svg>"
    )


def _scales(chart: Chart) -> tuple[_Scale, _Scale]:
    xs = [px for line in chart.lines for px, _ in line.points]
    ys = [py for line in chart.lines for _, py in line.points]
    xs += [px for band in chart.bands for px, _, _ in band.points]
    ys += [high for band in chart.bands for _, _, high in band.points]
    positive = [v for v in xs if v > 0]
    low = min(positive if chart.log_x else xs, default=1.0)
    if chart.from_zero and not chart.log_x:
        low = min(0.0, low)
    right = max(xs, default=1.0)
    if any(line.marks for line in chart.lines):
        right *= 1.05
    bottom, top = chart.y_range or (0.0, 1.05 * max(ys, default=1.0))
    return (
        _Scale(low, right, LEFT, WIDTH - RIGHT, log=chart.log_x),
        _Scale(bottom, top, HEIGHT - BOTTOM, TOP),
    )


def _axes(chart: Chart, x: _Scale, y: _Scale) -> list[str]:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    out = []
    for value in y.ticks:
        out.append(f'<path d="M{LEFT} {y(value):.1f}H{right}" class="grid"/>')
        out.append(f'<text x="{LEFT - 6}" y="{y(value) + 4:.1f}" class="end">{value:g}</text>')
    for value in x.ticks:
        out.append(f'<path d="M{x(value):.1f} {bottom}v4" class="axis"/>')
        out.append(f'<text x="{x(value):.1f}" y="{bottom + 16}" class="middle">{value:g}</text>')
    if chart.limit is not None and x.low <= chart.limit <= x.high:
        out.append(f'<path d="M{x(chart.limit):.1f} {TOP}V{bottom}" class="limit"/>')
    out.append(f'<path d="M{LEFT} {TOP}V{bottom}H{right}" class="axis"/>')
    out.append(f'<text x="{(LEFT + right) / 2}" y="{bottom + 34}" class="middle">{escape(chart.x)}</text>')
    middle = (TOP + bottom) / 2
    out.append(
        f'<text transform="translate(14 {middle}) rotate(-90)" class="middle">{escape(chart.y)}</text>'
    )
    return out


def _filled(band: Band, x: _Scale, y: _Scale) -> str:
    there = [f"{x(px):.1f} {y(high):.1f}" for px, _, high in band.points]
    back = [f"{x(px):.1f} {y(low):.1f}" for px, low, _ in reversed(band.points)]
    return f'<path d="M{"L".join(there + back)}Z" fill="{_look(band.look)[0]}" fill-opacity="0.2"/>'


def _look(k: int) -> tuple[str, str]:
    return COLOURS[k % len(COLOURS)], DASHES[k // len(COLOURS) % len(DASHES)]


def _drawn(line: Line, x: _Scale, y: _Scale) -> str:
    colour, dash = _look(line.look)
    places = [(x(px), y(min(max(py, y.low), y.high))) for px, py in line.points]
    if line.marks:
        return "".join(
            f'<circle cx="{px:.1f}" cy="{py:.1f}" r="5" fill="{colour}" fill-opacity="0.85"/>'
            f'<text x="{px + 7:.1f}" y="{py + 3:.1f}" class="small">{line.look + 1}</text>'
            for px, py in places
        )
    if not places:
        return ""
    path = f"M{places[0][0]:.1f} {places[0][1]:.1f}"
    for px, py in places[1:]:
        path += f"H{px:.1f}V{py:.1f}" if line.steps else f"L{px:.1f} {py:.1f}"
    dots = (
        ""
        if line.steps or len(places) > 20
        else "".join(f'<circle cx="{px:.1f}" cy="{py:.1f}" r="2.5" fill="{colour}"/>' for px, py in places)
    )
    return f'<path d="{path}" class="line" stroke="{colour}" stroke-dasharray="{dash}"/>{dots}'


def _legend(lines: Sequence[Line]) -> list[str]:
    out = []
    for k, line in enumerate(lines):
        colour, dash = _look(line.look)
        left = LEFT + (k % 2) * (WIDTH - LEFT) / 2
        top = HEIGHT + LEGEND_ROW * (k // 2 + 0.5)
        name = f"{line.look + 1} {line.name}" if line.marks else line.name
        out.append(
            f'<path d="M{left} {top}h18" class="line" stroke="{colour}" stroke-dasharray="{dash}"/>'
            f'<text x="{left + 24}" y="{top + 4}" class="small">{escape(name)}</text>'
        )
    return out

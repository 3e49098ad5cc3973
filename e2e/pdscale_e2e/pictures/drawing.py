"""A dashboard as one picture: panels in rows of three, as Grafana places them.

A PNG with few colours: a hundred curves as vectors are thirty thousand lines of SVG, which nobody reviews. A
panel of which Prometheus knows nothing says so, as in Grafana.
"""

import io
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from pdscale.scenarios.svg import COLOURS
from pdscale_e2e.pictures.palette import smaller
from pdscale_e2e.pictures.panels import Curve, Shown

PER_ROW: Final = 3
DOTS: Final = 110  # per inch: 1540 pixels across, twice what a column of the documentation shows
GOOD, BAD, SOFT, INK = "#2a9d6f", "#d1495b", "#8b95a1", "#1c2430"
NOTHING: Final = "No data"
_UNITS: Final[dict[str, Callable[[float], str]]] = {
    "percentunit": lambda v: f"{v:.0%}",
    "s": lambda v: f"{v * 1e3:.3g} ms" if 0 < v < 1 else f"{v:.3g} s",
    "reqps": lambda v: f"{v:.3g}/s",
    "ops": lambda v: f"{v:.3g}/s",
    "Bps": lambda v: f"{v / 1e9:.3g} GB/s" if v >= 1e9 else f"{v / 1e6:.3g} MB/s",
}


def drawn(title: str, panels: Sequence[Shown]) -> Figure:
    """The x axis is minutes since the beginning of the window."""
    rows = -(-len(panels) // PER_ROW)
    with mpl.rc_context({"axes.edgecolor": SOFT}):
        figure = Figure(figsize=(14, 2.55 * rows + 0.4), layout="constrained", facecolor="white")
        figure.suptitle(title, x=0.008, ha="left", fontsize=12, fontweight="bold")
        grid = figure.subplots(rows, PER_ROW, squeeze=False)
        for place, axes in enumerate(grid.flat):
            if place < len(panels):
                _panel(axes, panels[place])
            else:
                axes.set_visible(False)
    return figure


def png(figure: Figure) -> bytes:
    """The same figure gives the same bytes: no date and no program's version is written."""
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=DOTS, metadata={"Software": None})
    return smaller(out.getvalue())


def _panel(axes: Axes, panel: Shown) -> None:
    axes.set_title(panel.title, loc="left", fontsize=9.5, fontweight="bold")
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=SOFT, labelsize=7.5)
    if not panel.curves:
        axes.text(0.5, 0.5, NOTHING, transform=axes.transAxes, ha="center", color=SOFT)
        axes.set_xticks([])
        axes.set_yticks([])
        return
    axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g} min"))
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    if panel.kind == "state-timeline":
        _states(axes, panel.curves)
    else:
        _lines(axes, panel)


def _lines(axes: Axes, panel: Shown) -> None:
    for i, curve in enumerate(panel.curves):
        colour, dash = COLOURS[i % len(COLOURS)], ("-", "--")[i // len(COLOURS) % 2]
        axes.plot(*_xy(curve), color=colour, linestyle=dash, linewidth=1.3, label=curve.name, clip_on=False)
    most = max(value for curve in panel.curves for _, value in curve.points)
    axes.set_ylim(0, 1.03 if panel.unit == "percentunit" and 0.5 < most <= 1 else 1.08 * most or 1)
    axes.margins(x=0)
    axes.grid(axis="y", color="#e4e7eb", linewidth=0.6)
    axes.yaxis.set_major_formatter(FuncFormatter(_text_of(panel.unit)))
    axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))
    columns = 3 if len(panel.curves) > 2 else 2
    axes.legend(
        loc="upper center",
        bbox_to_anchor=(0.5, -0.13),
        ncols=columns,
        frameon=False,
        fontsize=7.5,
        labelcolor=INK,
    )


def _text_of(unit: str) -> Callable[[float, object], str]:
    def text(value: float, _: object) -> str:
        return _UNITS[unit](value) if unit in _UNITS else f"{value:,.6g}"

    return text


def _states(axes: Axes, curves: Sequence[Curve]) -> None:
    """One bar for each series, in the colour of what it was at the time."""
    for row, curve in enumerate(reversed(curves)):
        x, y = _xy(curve)
        turns = [0, *(i for i in range(1, len(x)) if y[i] != y[i - 1]), len(x) - 1]
        for left, right in pairwise(turns):
            axes.broken_barh(
                [(x[left], x[right] - x[left])], (row - 0.36, 0.72), color=GOOD if y[left] else BAD
            )
    axes.set_yticks(range(len(curves)), [c.name for c in reversed(curves)])
    axes.margins(x=0)


def _xy(curve: Curve) -> tuple[list[float], list[Any]]:
    return [at / 60 for at, _ in curve.points], [value for _, value in curve.points]

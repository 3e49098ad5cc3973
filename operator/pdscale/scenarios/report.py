"""A comparison as one HTML file: what was asked, the table, the plots. No script and nothing from a network.

Plots of one run (replicas, distributions) are of the first seed at the load nearest to 1.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Final

from pdscale.model.units import format_duration
from pdscale.scenarios.runs import Row
from pdscale.scenarios.settings import HELD, Settings
from pdscale.scenarios.svg import Chart, Line, svg
from pdscale.scenarios.tables import COLUMNS, Group, grouped, told

STYLE: Final = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 1180px; padding: 0 1rem }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin-top: 2rem }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(460px, 1fr)); gap: 1.2rem }
svg { width: 100%; font: 11px system-ui, sans-serif } svg .title { font-size: 13px; font-weight: 600 }
.end { text-anchor: end } .middle { text-anchor: middle } .small { font-size: 11px }
.grid { stroke: #e4e4e4 } .axis { stroke: #555; fill: none } .line { fill: none; stroke-width: 1.7 }
.limit { stroke: #b00; stroke-dasharray: 4 3 }
.wide { overflow-x: auto } table { border-collapse: collapse; font-size: 13px; white-space: nowrap }
th, td { padding: .2rem .45rem; text-align: right; border-bottom: 1px solid #e4e4e4 }
th { white-space: normal; vertical-align: bottom }
th:nth-child(-n+2), td:nth-child(-n+2) { text-align: left } dl { columns: 3; font-size: 13px }
dt { float: left; clear: left; color: #666; margin-right: .5rem } dd { margin: 0; overflow-wrap: anywhere }
"""


WITHIN_BOTH: Final = "share of rounds within both limits"
Looks = Mapping[str, int]
Points = tuple[tuple[float, float], ...]


def html(settings: Settings, rows: Sequence[Row]) -> str:
    groups = grouped(rows)
    seeds = ", ".join(map(str, settings.seed))
    return (
        "<!doctype html>\n"
        '<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>pdscale compare</title><style>{STYLE}</style>"
        f"<h1>{escape(_what(settings))}</h1>"
        f"<p>Limits: TTFT {format_duration(settings.ttft)}, TPOT {format_duration(settings.tpot)}. "
        f"Figures are means over seeds {seeds}.</p>"
        f'<div class="wide">{_table(groups)}</div>'
        f'<h2>Plots</h2><div class="plots">{"".join(svg(chart) for chart in charts(settings, groups))}</div>'
        f"<h2>Settings</h2><dl>{_settings(settings)}</dl></html>\n"
    )


def charts(settings: Settings, groups: Sequence[Group]) -> list[Chart]:
    """Only those that have something to show: one load makes no curve over loads."""
    looks = {name: k for k, name in enumerate(dict.fromkeys(group.name for group in groups))}
    loads = sorted({group.load for group in groups})
    shown = [g for g in groups if g.load == min(loads, key=lambda load: abs(load - 1))]
    resized = [g for g in shown if g.scaling not in HELD]
    at = f"at load {shown[0].load:g}"
    found = [_against_load(groups, looks)] if len(loads) > 1 else []
    found.append(_cost(shown, looks, f"GPU-hours against attainment, {at}"))
    if resized:
        found.append(
            Chart(f"Replicas, {at}", "seconds", "replicas of both pools", _steps(resized, looks, _both))
        )
        found.append(
            Chart(
                f"Prefill replicas per decode replica, {at}", "seconds", "P/D", _steps(resized, looks, _ratio)
            )
        )
    found.append(
        _distribution(
            f"TTFT, {at}", "seconds", settings.ttft, [(g, g.rows[0].curves.ttft) for g in shown], looks
        )
    )
    smooth = [(g, tuple((t * 1e3, s) for t, s in g.rows[0].curves.tpot)) for g in shown]
    found.append(_distribution(f"TPOT, {at}", "milliseconds", settings.tpot * 1e3, smooth, looks))
    return found


def _attained(group: Group) -> float:
    return group.mean(lambda row: row.verdict.attainment)


def _range(groups: Sequence[Group]) -> tuple[float, float]:
    """Down to the tenth below the least share, so that what differs near 1 can be seen."""
    least = min((_attained(group) for group in groups), default=0.0)
    return min(0.9, max(0.0, math.floor(least * 10) / 10)), 1.0


def _against_load(groups: Sequence[Group], looks: Looks) -> Chart:
    points: dict[str, list[tuple[float, float]]] = {}
    for group in groups:
        points.setdefault(group.name, []).append((group.load, _attained(group)))
    lines = tuple(Line(name, tuple(sorted(found)), looks[name]) for name, found in points.items())
    return Chart(
        "Attainment against load", "load", WITHIN_BOTH, lines, y_range=_range(groups), from_zero=False
    )


def _cost(groups: Sequence[Group], looks: Looks, title: str) -> Chart:
    lines = tuple(
        Line(g.name, ((g.mean(lambda r: r.verdict.gpu_hours), _attained(g)),), looks[g.name], marks=True)
        for g in groups
    )
    return Chart(title, "GPU-hours", WITHIN_BOTH, lines, y_range=_range(groups))


def _steps(groups: Sequence[Group], looks: Looks, figure: Callable[[int, int], float]) -> tuple[Line, ...]:
    """A figure of (prefill, decode) replicas over the first seed's run, to its end."""
    lines = []
    for group in groups:
        row = group.rows[0]
        points = [(at, figure(p, d)) for at, p, d in row.curves.fleet if d]
        end = (row.ended_at, points[-1][1])
        lines.append(Line(group.name, (*points, end), looks[group.name], steps=True))
    return tuple(lines)


def _both(prefill: int, decode: int) -> float:
    return float(prefill + decode)


def _ratio(prefill: int, decode: int) -> float:
    return prefill / decode


def _distribution(
    title: str, x: str, limit: float, curves: Sequence[tuple[Group, Points]], looks: Looks
) -> Chart:
    lines = tuple(Line(g.name, points, looks[g.name]) for g, points in curves)
    return Chart(title, x, "share of rounds", lines, limit=limit, y_range=(0.0, 1.0), log_x=True)


def _what(settings: Settings) -> str:
    source = settings.trace.name if settings.trace else f"{settings.workload}, {settings.rate:g}/s"
    return f"{source} on {settings.profile}, beginning with {settings.fleet}"


def _table(groups: Sequence[Group]) -> str:
    head = "".join(f"<th>{escape(name)}" for name, _ in COLUMNS)
    lines = ("".join(f"<td>{escape(cell(g))}" for _, cell in COLUMNS) for g in groups)
    return f"<table><tr>{head}{''.join(f'<tr>{line}' for line in lines)}</table>"


def _settings(settings: Settings) -> str:
    return "".join(
        f"<dt>{escape(name)}<dd>{escape(value)}"
        for name, value in told(settings).items()
        if value is not None
    )

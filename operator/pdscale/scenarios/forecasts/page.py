"""A forecast or a back-test as one SVG or one HTML file: no script and nothing from a network."""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from html import escape
from typing import Final, TypeVar

from pdscale.model.units import Seconds, format_duration
from pdscale.scenarios.forecasts.asked import Asked
from pdscale.scenarios.forecasts.foretelling import Foretold
from pdscale.scenarios.forecasts.reading import Load
from pdscale.scenarios.forecasts.replaying import Replayed
from pdscale.scenarios.forecasts.scoring import Score, Scored
from pdscale.scenarios.forecasts.tables import REPLAYS, SCORES, headline, when
from pdscale.scenarios.report import STYLE
from pdscale.scenarios.settings import Settings
from pdscale.scenarios.svg import Band, Chart, Line, svg
from pdscale.scenarios.tables import told
from pdscale_forecaster import Forecast, Series

T = TypeVar("T")

_SEEN: Final = 0
_SAID: Final = 5
_LEAST_SHOWN: Final = 60  # samples of the past beside a forecast
_SHOWN_LEADS: Final = 12  # or so many times the longest lead time
_MOST_POINTS: Final = 2_000


def fan(load: Load, asked: Asked, found: Sequence[Foretold]) -> Chart:
    """The recent past and, from its end, the band at each lead time, in minutes from the newest sample."""
    series = load.series
    past = series.last(max(_LEAST_SHOWN * series.step, _SHOWN_LEADS * max(asked.lead)))
    now = past.values[-1]
    told = sorted(
        (
            (f.lead, f.high.point if f.low is None else f.low, f.high)
            for f in found
            if isinstance(f.high, Forecast)
        ),
        key=lambda each: each[0],
    )
    middle = ((0.0, now), *((lead / 60, high.point) for lead, _, high in told))
    band = ((0.0, now, now), *((lead / 60, low, high.value) for lead, low, high in told))
    shown = (
        f"{1 - asked.quantile:.0%} to {asked.quantile:.0%}"
        if asked.quantile > 0.5
        else f"{asked.quantile:.0%}"
    )
    lines = [Line(name, points, _SEEN) for name, points in _pieces("seen", past, series.end)]
    lines.append(Line(f"middle, band of {shown}", middle, _SAID))
    title = f"{load.what}, newest at {when(load, series.end)}"
    return Chart(
        title,
        "minutes from the newest sample",
        load.what,
        tuple(lines),
        0.0,
        from_zero=False,
        bands=(Band(band, _SAID),),
    )


def _pieces(
    name: str, series: Series, zero: Seconds
) -> Iterator[tuple[str, tuple[tuple[float, float], ...]]]:
    """Unbroken runs: a line over a gap would be an invention. The longest comes first and has the name."""
    points = [((series.start + i * series.step - zero) / 60, v) for i, v in enumerate(series.values)]
    runs = (tuple(run) for known, run in itertools.groupby(points, lambda p: not math.isnan(p[1])) if known)
    for i, run in enumerate(sorted(runs, key=len, reverse=True)):
        yield (name if i == 0 else "", run)


def forecast_page(load: Load, asked: Asked, found: Sequence[Foretold]) -> str:
    return _page("pdscale forecast", headline(load), svg(fan(load, asked, found)))


def forecast_svg(load: Load, asked: Asked, found: Sequence[Foretold]) -> str:
    """One file that shows itself: its name space, and the styles that a page would give."""
    drawn = svg(fan(load, asked, found))
    rest = drawn.removeprefix("<svg ")
    return f'<svg xmlns="http://www.w3.org/2000/svg" {rest.replace(">", f"><style>{STYLE}</style>", 1)}\n'


def backtest_page(
    load: Load, asked: Asked, scored: Scored, replayed: Sequence[Replayed], settings: Settings
) -> str:
    parts = [_table(SCORES, scored.scores)] if scored.scores else []
    parts += [f"<p>{escape(format_duration(lead))}: {escape(why)}</p>" for lead, why in scored.short]
    parts.append(f'<div class="plots">{"".join(map(svg, _score_charts(asked, scored)))}</div>')
    if replayed:
        parts.append(f"<h2>Through planner and simulator</h2>{_table(REPLAYS, replayed)}")
        parts.append(f'<div class="plots">{"".join(map(svg, _replay_charts(replayed)))}</div>')
        parts.append(f"<h2>Settings</h2><dl>{_settings(settings)}</dl>")
    return _page("pdscale backtest", headline(load), "".join(parts))


def _score_charts(asked: Asked, scored: Scored) -> Iterator[Chart]:
    """One lead time makes no curve over lead times."""
    models = list(dict.fromkeys(s.model for s in scored.scores))
    if len({s.lead for s in scored.scores}) > 1:
        title = f"Pinball loss at {asked.quantile:g}"
        yield _by_lead(scored.scores, models, title, lambda s: s.pinball)
        title = f"Share that held, {asked.quantile:g} is right"
        yield _by_lead(scored.scores, models, title, lambda s: s.coverage, top=1.0)
    if scored.lived:
        yield _lived(scored)


def _lived(scored: Scored) -> Chart:
    lived = scored.lived[:: max(1, len(scored.lived) // _MOST_POINTS)]
    begin = lived[0][0]
    seen = tuple(((at - begin) / 3600, came) for at, _, came in lived)
    said = tuple(((at - begin) / 3600, high) for at, high, _ in lived)
    title = f"What was said {format_duration(scored.scores[0].lead)} ahead, and what came"
    return Chart(title, "hours", "load", (Line("came", seen, _SEEN), Line("said", said, _SAID)))


def _by_lead(
    scores: Sequence[Score],
    models: Sequence[str],
    title: str,
    figure: Callable[[Score], float],
    *,
    top: float | None = None,
) -> Chart:
    lines = tuple(
        Line(model, tuple((s.lead / 60, figure(s)) for s in scores if s.model == model), look)
        for look, model in enumerate(models)
    )
    return Chart(title, "minutes ahead", title, lines, y_range=None if top is None else (0.0, top))


def _replay_charts(replayed: Sequence[Replayed]) -> Iterator[Chart]:
    cost = tuple(
        Line(r.name, ((r.row.verdict.gpu_hours, r.row.verdict.attainment),), look, marks=True)
        for look, r in enumerate(replayed)
    )
    least = min(r.row.verdict.attainment for r in replayed)
    low = min(0.9, max(0.0, math.floor(least * 10) / 10))
    yield Chart(
        "GPU-hours against attainment", "GPU-hours", "share within both limits", cost, y_range=(low, 1.0)
    )
    steps = tuple(
        Line(
            r.name,
            (*((at / 3600, float(p + d)) for at, p, d in r.row.curves.fleet if d), _end(r)),
            look,
            steps=True,
        )
        for look, r in enumerate(replayed)
    )
    yield Chart("Replicas", "hours", "replicas of both pools", steps)


def _end(replayed: Replayed) -> tuple[float, float]:
    _, prefill, decode = replayed.row.curves.fleet[-1]
    return replayed.row.ended_at / 3600, float(prefill + decode)


def _settings(settings: Settings) -> str:
    return "".join(f"<dt>{escape(n)}<dd>{escape(v)}" for n, v in told(settings).items() if v is not None)


def _table(columns: Sequence[tuple[str, Callable[[T], str]]], rows: Sequence[T]) -> str:
    head = "".join(f"<th>{escape(name)}" for name, _ in columns)
    lines = ("".join(f"<td>{escape(cell(row))}" for _, cell in columns) for row in rows)
    return f'<div class="wide"><table><tr>{head}{"".join(f"<tr>{line}" for line in lines)}</table></div>'


def _page(title: str, head: str, body: str) -> str:
    return (
        "<!doctype html>\n"
        '<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{title}</title><style>{STYLE}</style><h1>{escape(title)}</h1><p>{escape(head)}</p>{body}</html>\n"
    )

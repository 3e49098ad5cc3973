"""Forecasts, scores and replays as text for people and as JSON for programs.

JSON has seconds, the load's own unit and shares of one; what is not known is null.
"""

import json
import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from pdscale.model.units import Seconds, format_duration
from pdscale.scenarios.forecasts.asked import Asked
from pdscale.scenarios.forecasts.foretelling import Foretold
from pdscale.scenarios.forecasts.reading import Load
from pdscale.scenarios.forecasts.replaying import Replayed
from pdscale.scenarios.forecasts.scoring import Score, Scored
from pdscale.scenarios.tables import record
from pdscale_forecaster import Forecast, TooShort

FORECAST_SCHEMA: Final = "pdscale.io/forecast/v1"
BACKTEST_SCHEMA: Final = "pdscale.io/backtest/v1"
T = TypeVar("T")
Columns = Sequence[tuple[str, Callable[[T], str]]]


def headline(load: Load) -> str:
    """What was read, in one line."""
    series = load.series
    known = series.known / len(series.values)
    return (
        f"{load.source}: {load.what}; {len(series.values)} samples of {format_duration(series.step)}, "
        f"{known:.0%} known; newest {series.values[-1]:.4g} at {when(load, series.end)}"
    )


def when(load: Load, instant: Seconds) -> str:
    if load.dated:
        return datetime.fromtimestamp(instant, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return f"{instant:.0f}s"


def forecast_text(load: Load, asked: Asked, found: Sequence[Foretold]) -> str:
    told = [f for f in found if isinstance(f.high, Forecast)]
    rows = [_foretold_cells(f) for f in told]
    low, high = (f"{q * 100:g} %" for q in (1 - asked.quantile, asked.quantile))
    lines = [headline(load)]
    if rows:
        lines += aligned(("ahead", low, "middle", high, "model", "held", "note"), rows)
    lines += [f"{format_duration(f.lead)}: {f.high.reason}" for f in found if isinstance(f.high, TooShort)]
    return "\n".join(lines) + "\n"


def _foretold_cells(found: Foretold) -> tuple[str, ...]:
    high = found.high
    assert isinstance(high, Forecast)
    held = "" if high.coverage is None else f"{high.coverage:.1%}"
    low = "" if found.low is None else f"{found.low:.4g}"
    return (
        format_duration(found.lead),
        low,
        f"{high.point:.4g}",
        f"{high.value:.4g}",
        high.model,
        held,
        high.reason,
    )


def forecast_json(load: Load, asked: Asked, found: Sequence[Foretold]) -> str:
    def entry(f: Foretold) -> dict[str, Any]:
        if isinstance(f.high, TooShort):
            return {"lead": f.lead, "too_short": f.high.reason}
        return {
            "lead": f.lead,
            "low": f.low,
            "middle": f.high.point,
            "high": f.high.value,
            "model": f.high.model,
            "coverage": f.high.coverage,
            "reason": f.high.reason,
        }

    document = {
        "schema": FORECAST_SCHEMA,
        **_read(load),
        "quantile": asked.quantile,
        "forecasts": [entry(f) for f in found],
    }
    return _json(document)


SCORES: Final[Columns[Score]] = (
    ("ahead", lambda s: format_duration(s.lead)),
    ("model", lambda s: s.model),
    ("pinball", lambda s: f"{s.pinball:.4g}"),
    ("saves", lambda s: "" if math.isnan(s.gain) else f"{s.gain:+.1%}"),
    ("held", lambda s: f"{s.coverage:.1%}"),
    ("WAPE", lambda s: f"{s.wape:.3f}"),
    ("forecasts", lambda s: str(s.origins)),
    ("by", lambda s: ", ".join(f"{name} {n}" for name, n in s.chosen)),
)
REPLAYS: Final[Columns[Replayed]] = (
    ("sized by", lambda r: r.name),
    ("begins", lambda r: str(r.row.begin)),
    ("both %", lambda r: f"{r.row.verdict.attainment * 100:.1f}"),
    ("GPU-h", lambda r: f"{r.row.verdict.gpu_hours:.2f}"),
    ("changes", lambda r: str(r.row.verdict.changes)),
)


def backtest_text(load: Load, scored: Scored, replayed: Sequence[Replayed]) -> str:
    parts = [headline(load)]
    if scored.scores:
        parts += cells(SCORES, scored.scores)
    parts += [f"{format_duration(lead)}: {why}" for lead, why in scored.short]
    if replayed:
        parts += ["", *cells(REPLAYS, replayed)]
    return "\n".join(parts) + "\n"


def backtest_json(load: Load, asked: Asked, scored: Scored, replayed: Sequence[Replayed]) -> str:
    document = {
        "schema": BACKTEST_SCHEMA,
        **_read(load),
        "quantile": asked.quantile,
        "scores": [_score(s) for s in scored.scores],
        "too_short": [{"lead": lead, "reason": why} for lead, why in scored.short],
        "replays": [{"name": r.name, **record(r.row)} for r in replayed],
    }
    return _json(document)


def _score(score: Score) -> dict[str, Any]:
    figures = ("lead", "model", "origins", "pinball", "gain", "coverage", "wape")
    return {**{f: getattr(score, f) for f in figures}, "chosen": dict(score.chosen)}


def _read(load: Load) -> dict[str, Any]:
    series = load.series
    return {
        "source": load.source,
        "load": load.what,
        "start": series.start,
        "step": series.step,
        "samples": len(series.values),
        "known": series.known,
        "newest": series.values[-1],
    }


def _json(document: dict[str, Any]) -> str:
    def finite(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: finite(v) for k, v in value.items()}
        if isinstance(value, list):
            return [finite(v) for v in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return json.dumps(finite(document), indent=2, allow_nan=False) + "\n"


def cells(columns: Columns[T], rows: Sequence[T]) -> list[str]:
    return aligned([name for name, _ in columns], [[cell(row) for _, cell in columns] for row in rows])


def aligned(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns as wide as their widest cell, two blanks apart; empty ones at the end are left out."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    while widths and not any(row[len(widths) - 1] for row in rows):
        widths.pop()
    lines = (row[: len(widths)] for row in (head, *rows))
    return ["  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in lines]

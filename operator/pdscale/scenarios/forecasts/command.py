"""``pdscale forecast`` and ``pdscale backtest``: parse, read, compute, print.

Both work on a Prometheus by its URL, before anything is installed, or on a file. What is asked for goes to
standard output, progress and complaints to standard error, so that ``--json`` can be piped."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from pdscale.scenarios.console import Parser, check_writable, status_of
from pdscale.scenarios.fields import InvalidScenario
from pdscale.scenarios.forecasts.asked import BACKTEST, FORECAST, Asked, asked
from pdscale.scenarios.forecasts.files import is_rate_series
from pdscale.scenarios.forecasts.foretelling import forecaster, foretell
from pdscale.scenarios.forecasts.page import backtest_page, forecast_page, forecast_svg
from pdscale.scenarios.forecasts.reading import Load, read
from pdscale.scenarios.forecasts.replaying import Replayed, as_trace, replay, runs
from pdscale.scenarios.forecasts.scoring import models_of, score
from pdscale.scenarios.forecasts.tables import backtest_json, backtest_text, forecast_json, forecast_text
from pdscale.scenarios.progress import Bar
from pdscale.scenarios.reading import add_flag, add_flags, read_settings
from pdscale.scenarios.settings import Settings

COMMANDS: Final = {
    "forecast": "what load will come, as a quantile band, from a Prometheus or a file",
    "backtest": "what forecasts of that load would have been worth: losses, coverage, GPU-hours",
}


def parser_of(command: str) -> argparse.ArgumentParser:
    text = COMMANDS[command]
    parser = Parser(
        prog=f"pdscale {command}", description=f"{text[0].upper()}{text[1:]}.", allow_abbrev=False
    )
    parser.add_argument("--json", action="store_true", help="everything as JSON")
    for field in FORECAST if command == "forecast" else BACKTEST:
        add_flag(parser, field, with_default=not isinstance(field.default, float | tuple))
    if command == "forecast":
        parser.add_argument("--plot", metavar="FILE", type=Path, help="the band as FILE.svg or FILE.html")
        return parser
    parser.add_argument("--report", metavar="FILE", type=Path, help="a self-contained HTML page with plots")
    parser.add_argument(
        "--replay",
        choices=("true", "false"),
        help="through planner and simulator too [true for request tables]; the flags below are about that",
    )
    add_flags(parser)
    return parser


def main(arguments: Sequence[str]) -> int:
    command = arguments[0]
    flags = vars(parser_of(command).parse_args(arguments[1:]))
    bar = Bar(2, part="part")
    answer = _forecast if command == "forecast" else _backtest
    return status_of(
        command,
        lambda: print(answer(flags, bar), end=""),
        bar,
        done=lambda: f"in part {bar.done + 1} of {bar.total}",
    )


def _forecast(flags: dict[str, Any], bar: Bar) -> str:
    wanted = asked(FORECAST, flags)
    plot: Path | None = flags["plot"]
    if plot is not None and plot.suffix not in (".svg", ".html"):
        raise InvalidScenario(f"--plot: must end in .svg or .html, got {plot.name}")
    check_writable("--plot", plot)
    for lead in wanted.lead:
        forecaster(wanted, lead, wanted.quantile, wanted.model)  # refuses a name before anything is read
    load = read(wanted, lambda share: bar.tell(0, share))
    found = foretell(load, wanted, lambda share: bar.tell(1, share))
    bar.clear()
    if plot is not None:
        drawn = forecast_svg if plot.suffix == ".svg" else forecast_page
        plot.write_text(drawn(load, wanted, found), encoding="utf-8")
        print(f"plot {plot}", file=sys.stderr)
    return (forecast_json if flags["json"] else forecast_text)(load, wanted, found)


def _backtest(flags: dict[str, Any], bar: Bar) -> str:
    settings = read_settings({**flags, "scenario": None}, flags["scenario"])
    wanted = asked(BACKTEST, flags, trace=settings.trace, quantile=settings.quantile)
    check_writable("--report", flags["report"])
    models_of(wanted)
    replays = _replays(flags, wanted)
    bar.total += runs(settings) if replays else 0
    load = read(wanted, lambda share: bar.tell(0, share), lengths=replays and wanted.query is None)
    scored = score(load, wanted, lambda share: bar.tell(1, share))
    replayed = _replayed(settings, load, bar) if replays else []
    bar.clear()
    if flags["report"]:
        page = backtest_page(load, wanted, scored, replayed, settings)
        flags["report"].write_text(page, encoding="utf-8")
        print(f"report {flags['report']}", file=sys.stderr)
    if flags["json"]:
        return backtest_json(load, wanted, scored, replayed)
    return backtest_text(load, scored, replayed)


def _replays(flags: dict[str, Any], wanted: Asked) -> bool:
    """Request tables are replayed unless somebody says no; rates are drawn from only if somebody says so."""
    if flags["replay"] is not None:
        return bool(flags["replay"] == "true")
    try:
        return wanted.trace is not None and not is_rate_series(wanted.trace)
    except ValueError as error:
        raise InvalidScenario(f"--trace {error}") from error


def _replayed(settings: Settings, load: Load, bar: Bar) -> list[Replayed]:
    def tell(done: int, share: float) -> None:
        bar.tell(2 + done, share)

    if settings.trace is not None:
        return replay(settings, tell)
    with as_trace(load) as trace:
        return replay(replace(settings, trace=trace), tell)

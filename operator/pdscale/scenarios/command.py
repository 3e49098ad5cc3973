"""``pdscale simulate`` and ``pdscale compare``: parse, run, print.

What is asked for goes to standard output; seeds, progress and complaints go to standard error, so that
``--json`` and ``--csv`` can be piped."""

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from pdscale.scenarios import goodput
from pdscale.scenarios.comparing import cases_of, pairs_of, the_only
from pdscale.scenarios.console import Parser, check_writable, status_of
from pdscale.scenarios.fields import InvalidScenario, count, number, several, share
from pdscale.scenarios.progress import Bar
from pdscale.scenarios.reading import add_flags, read_settings
from pdscale.scenarios.report import html
from pdscale.scenarios.runs import Case, Row, mapped, run_all
from pdscale.scenarios.settings import Settings
from pdscale.scenarios.tables import as_csv, as_json, as_text, grouped

COMMANDS: Final = {
    "simulate": "replay a trace on simulated pools, with the live policies, without a GPU",
    "compare": "the same trace under several placement and scaling rules: a table and an HTML report",
}
LEAST_SHARE: Final = 64  # the search begins between a 64th of --most-load and all of it


def parser_of(command: str) -> argparse.ArgumentParser:
    parser = Parser(prog=f"pdscale {command}", description=_sentence(COMMANDS[command]), allow_abbrev=False)
    add_flags(parser)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="every run as JSON")
    form.add_argument("--csv", action="store_true", help="every run as CSV")
    parser.add_argument("--report", metavar="FILE", type=Path, help="a self-contained HTML page with plots")
    if command == "compare":
        parser.add_argument("--jobs", metavar="N", default="1", help="processes at a time [1]")
        parser.add_argument("--grid", action="store_true", help="every placement with every scaling rule")
        parser.add_argument(
            "--goodput", metavar="SHARE[,SHARE]", help="search the largest load that attains it"
        )
        parser.add_argument("--strict", action="store_true", help="search by strict attainment")
        parser.add_argument(
            "--most-load", metavar="N", default="4", help="where that search begins from above [4]"
        )
    return parser


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def main(arguments: Sequence[str]) -> int:
    command = arguments[0]
    flags = vars(parser_of(command).parse_args(arguments[1:]))
    bar = Bar(1)
    return status_of(
        command,
        lambda: _study(command, flags, bar),
        bar,
        done=lambda: f"after {bar.done} of {bar.total} runs",
    )


def _study(command: str, flags: dict[str, Any], bar: Bar) -> None:
    settings = read_settings(flags, flags["scenario"])
    if command == "simulate":
        _run(settings, [the_only(settings)], flags, bar, jobs=1)
        return
    jobs = _read("--jobs", count(least=1), flags["jobs"])
    if flags["goodput"]:
        _search(settings, flags, bar, jobs=jobs)
    else:
        _run(settings, cases_of(settings, grid=flags["grid"]), flags, bar, jobs=jobs)


def _run(settings: Settings, cases: Sequence[Case], flags: dict[str, Any], bar: Bar, *, jobs: int) -> None:
    bar.total = len(cases)
    check_writable("--report", flags["report"])
    rows: list[Row] = list(run_all(settings, cases, jobs=jobs, progress=bar.tell))
    bar.clear()
    print(f"seeds {','.join(map(str, settings.seed))}", file=sys.stderr)
    print(_shown(settings, rows, flags), end="")
    if flags["report"]:
        flags["report"].write_text(html(settings, rows), encoding="utf-8")
        print(f"report {flags['report']}", file=sys.stderr)


def _shown(settings: Settings, rows: Sequence[Row], flags: dict[str, Any]) -> str:
    if flags["json"]:
        return as_json(settings, rows)
    return as_csv(rows) if flags["csv"] else as_text(grouped(rows))


def _search(settings: Settings, flags: dict[str, Any], bar: Bar, *, jobs: int) -> None:
    if flags["csv"] or flags["report"]:
        raise InvalidScenario("--goodput: has a table and --json; leave out --csv and --report")
    targets = _read("--goodput", several(share), flags["goodput"])
    most = _read("--most-load", number(above=0), flags["most_load"])
    asked = [
        goodput.Asked(placement, scaling, target, flags["strict"], most / LEAST_SHARE, most)
        for placement, scaling in pairs_of(settings, grid=flags["grid"])
        for target in targets
    ]
    bar.total, found = len(asked), []
    for search in mapped(partial(goodput.goodput_of, settings), asked, jobs=jobs):
        found.append(search)
        bar.tell(len(found), 0.0)
    bar.clear()
    print(f"seeds {','.join(map(str, settings.seed))}", file=sys.stderr)
    print(goodput.as_json(settings, found) if flags["json"] else goodput.as_text(found), end="")


def _read(flag: str, read: Callable[[str], Any], raw: str) -> Any:
    try:
        return read(raw)
    except ValueError as error:
        raise InvalidScenario(f"{flag}: {error}") from error

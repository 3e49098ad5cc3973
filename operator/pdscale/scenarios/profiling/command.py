"""``pdscale profile``: parse, measure, fit, write, print.

The profile goes to ``--out``, the table to standard output, notes and progress to standard error. Ctrl-C
ends the measurement and not the command: what was measured by then is fitted if it suffices, and the
status is 130.
"""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from typing import Any, Final

from pdscale.scenarios.console import Parser, check_writable, status_of
from pdscale.scenarios.profiling.asked import FIELDS, Asked, asked
from pdscale.scenarios.profiling.results import as_json, as_text, document, fitted
from pdscale.scenarios.profiling.sweep import Found, measure
from pdscale.scenarios.progress import Bar
from pdscale.scenarios.reading import add_flag

DESCRIPTION: Final = (
    "Measure an OpenAI endpoint that is otherwise idle: prefill by length and cached history, decode steps "
    "by batch and context, transfers between two engines. Writes a performance profile with its fit error."
)


def parser() -> argparse.ArgumentParser:
    found = Parser(prog="pdscale profile", description=DESCRIPTION, allow_abbrev=False)
    for field in FIELDS:
        add_flag(found, field)
    found.add_argument("--anyway", action="store_true", help="measure an engine that is busy")
    found.add_argument("--json", action="store_true", help="the profile, its errors and all points as JSON")
    return found


def main(arguments: Sequence[str]) -> int:
    flags = vars(parser().parse_args(arguments[1:]))
    bar, found = Bar(1, part="pass"), Found()
    return status_of("profile", lambda: _profile(flags, bar, found), bar, done=lambda: _how_far(found))


def _profile(flags: dict[str, Any], bar: Bar, found: Found) -> None:
    wanted = asked(flags)
    check_writable("--out", wanted.out)
    try:
        asyncio.run(measure(wanted, found, lambda done, total: _tell(bar, done, total)))
    except KeyboardInterrupt:
        if found.suffices:
            bar.clear()
            _write(wanted, found, flags)
        raise
    bar.clear()
    _write(wanted, found, flags)


def _tell(bar: Bar, done: int, total: int) -> None:
    bar.total = total
    bar.tell(done, 0.0)


def _write(wanted: Asked, found: Found, flags: dict[str, Any]) -> None:
    result = fitted(wanted, found)
    wanted.out.write_text(document(result), encoding="utf-8")
    for note in dict.fromkeys(found.notes):
        print(f"note: {note}", file=sys.stderr)
    print(f"profile {wanted.out}", file=sys.stderr)
    print(as_json(result) if flags["json"] else as_text(result), end="")


def _how_far(found: Found) -> str:
    kept = "the profile is of these" if found.suffices else "too few for a profile"
    return f"{found.said}: {kept}"

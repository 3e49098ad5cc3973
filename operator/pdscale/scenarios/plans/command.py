"""``pdscale plan``: parse, read, size, simulate, print.

What is asked for goes to standard output; seeds, progress and complaints go to standard error, so that
``--json`` can be piped."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from pdscale.scenarios.console import Parser, status_of
from pdscale.scenarios.plans.asked import OWN, PROFILE, SHARED, asked
from pdscale.scenarios.plans.planning import plan
from pdscale.scenarios.plans.source import SERVER, traffic_of_server
from pdscale.scenarios.plans.tables import as_json, as_text
from pdscale.scenarios.progress import Bar
from pdscale.scenarios.reading import add_flag

DESCRIPTION: Final = (
    "Which profiles, and how many replicas of each role, meet the SLO on this traffic with the fewest GPUs: "
    "every fleet by the planner's formulas, the best few on the simulator."
)


def parser() -> argparse.ArgumentParser:
    found = Parser(prog="pdscale plan", description=DESCRIPTION, allow_abbrev=False)
    found.add_argument(
        f"--{PROFILE.name}", metavar=PROFILE.metavar, action="append", default=[], help=PROFILE.help
    )
    found.add_argument(
        "--price",
        metavar="[PROFILE=]AMOUNT",
        action="append",
        default=[],
        help="of one GPU for an hour, for all profiles or for each; then the cheapest fleet is looked for, "
        "and not the one with the fewest GPUs",
    )
    for field in (*OWN, *SHARED):
        add_flag(found, field)
    for field in SERVER:
        add_flag(found, field, with_default=not isinstance(field.default, float))
    found.add_argument("--scenario", metavar="FILE", type=Path, help="YAML with names of settings as keys")
    found.add_argument("--no-simulate", action="store_true", help="by the formulas alone, in seconds")
    found.add_argument("--json", action="store_true", help="everything as JSON")
    return found


def main(arguments: Sequence[str]) -> int:
    flags = vars(parser().parse_args(arguments[1:]))
    bar = Bar(1)
    return status_of(
        "plan",
        lambda: _plan(flags, bar),
        bar,
        done=lambda: f"after {bar.done} of at most {bar.total} runs",
    )


def _plan(flags: dict[str, Any], bar: Bar) -> None:
    with traffic_of_server(flags, lambda share: bar.tell(0, share)) as (texts, source):
        wanted = replace(asked(texts, flags["scenario"]), source=source)
        bar.total = wanted.runs * len(wanted.settings.seed)
        found = plan(wanted, bar.tell, on_simulator=not flags["no_simulate"])
    bar.clear()
    if source is not None:
        print(f"traffic {source}", file=sys.stderr)
    print(f"seeds {','.join(map(str, wanted.settings.seed))}", file=sys.stderr)
    print(as_json(found) if flags["json"] else as_text(found), end="")

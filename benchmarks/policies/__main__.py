"""``python -m benchmarks.policies``: every policy of the router under the same sessions, a table per trace.

The load is chosen by one rule for all: sessions per second at which ``AlwaysRemote`` attains ``--target`` on
the development half of the trace. The table is from the other half.
"""

import argparse
import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import aiohttp
import uvloop

from benchmarks.policies.campaign import Campaign, Source, say
from benchmarks.policies.cell import Times
from benchmarks.policies.excerpts import Half, Shape, fitted
from benchmarks.policies.kept import Kept
from benchmarks.policies.lane import Lane, Plant
from benchmarks.policies.recorded import published, read_trace
from benchmarks.policies.slower import slower_profile, slower_shape, slower_slo, slower_times
from benchmarks.policies.table import markdown, rows
from benchmarks.rows import FOLDER, publish
from pdscale.model.slo import SLO
from pdscale.model.units import parse_duration
from pdscale.perf.builtin import BUILTIN
from pdscale.router.policies import PolicyName

_ENVIRONMENT: Final = "PDSCALE_BENCH_TRACES"
_NICE: Final = 5


def main(argv: Sequence[str]) -> int:
    asked = _parser().parse_args(argv)
    os.nice(_NICE)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # either ends what was started
    shape = slower_shape(Shape(), asked.slower)
    sources = [_source(told, shape) for told in asked.trace or os.environ.get(_ENVIRONMENT, "").split()]
    if not sources:
        say(f"no trace given (--trace PATH or {_ENVIRONMENT}): sessions are drawn from published figures")
        sources = [Source("published figures", tuple(fitted(published(1), shape)), asked.rate)]
    kept = Kept(asked.json)
    uvloop.run(_measure(asked, sources, shape, kept))
    found = rows(kept.runs)
    _write(markdown(kept.runs))
    publish("policies", found)
    return 1 if asked.judge and any(row.ok is False for row in found) else 0


async def _measure(asked: argparse.Namespace, sources: Sequence[Source], shape: Shape, kept: Kept) -> None:
    slo = slower_slo(SLO(ttft=parse_duration(asked.ttft), tpot=parse_duration(asked.tpot)), asked.slower)
    profile = slower_profile(BUILTIN[asked.profile], asked.slower)
    plant = Plant(profile, asked.prefill, asked.decode, shape.window, slo)
    times = slower_times(Times(measured=asked.seconds), asked.slower)
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pdscale-policies-")))
        http = await stack.enter_async_context(aiohttp.ClientSession())
        lanes = [Lane(plant, http, folder, number) for number in range(asked.lanes)]
        for lane in lanes:
            stack.push_async_callback(lane.close)
        await asyncio.gather(*(lane.open() for lane in lanes))
        campaign = Campaign(lanes, times, shape, asked.tries, asked.patience, kept)
        for source in sources:
            rate = kept.rate(source.name) or source.rate
            await campaign.compare(
                source,
                Half(asked.half),
                rate or await campaign.search(source, target=asked.target),
                policies=asked.policy or list(PolicyName),
                seeds=range(asked.seed, asked.seed + asked.seeds),
            )


def _source(told: str, shape: Shape) -> Source:
    """``PATH`` or ``PATH=SESSIONS_PER_SECOND``."""
    path, _, rate = told.partition("=")
    name = Path(path).name.removesuffix(".csv.gz")
    return Source(name, tuple(fitted(read_trace(Path(path)), shape)), float(rate) if rate else None)


def _write(table: str) -> None:
    """The table for ``docs/policies.md``."""
    print(table)
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / "policies.md").write_text(table)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.policies", description=__doc__)
    add = parser.add_argument
    add(
        "--trace",
        action="append",
        metavar="PATH[=RATE]",
        help="with its load in sessions/s, or it is searched",
    )
    add("--rate", type=float, help="sessions/s of the published figures, where there is no trace")
    add(
        "--target",
        type=float,
        default=0.9,
        help="what AlwaysRemote is to attain at the load that is searched",
    )
    add("--policy", type=PolicyName, action="append", help="only this one; may be repeated")
    add("--seeds", type=int, default=3)
    add("--seed", type=int, default=1, help="the first")
    add("--half", choices=tuple(Half), default=Half.REPORT, help="of the trace's sessions")
    add("--seconds", type=float, default=40.0, help="measured per run, before --slower")
    add("--lanes", type=int, default=3, help="data planes at a time")
    add("--tries", type=int, default=1, help="how often to make invalid runs; the calmest counts")
    add("--patience", type=float, default=60.0, help="seconds to wait for a calm machine before each run")
    add("--slower", type=float, default=1.0, help="stretch all times but the router's, for a small machine")
    add("--profile", choices=tuple(BUILTIN), default="llama-3.1-70b-h100-tp4")
    add("--prefill", type=int, default=2)
    add("--decode", type=int, default=3)
    add("--ttft", default="2s")
    add("--tpot", default="50ms")
    add("--json", type=Path, help="every run is kept here; valid ones that are there are not made again")
    add("--assert", dest="judge", action="store_true", help="end with an error if ours is below another")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

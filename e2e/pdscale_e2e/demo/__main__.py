"""``make demo``: a real trace, played to pools that resize themselves and to pools that do not."""

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from pdscale.model.units import parse_duration
from pdscale_e2e.cluster import ClusterUnavailable
from pdscale_e2e.demo.pictures import draw_dashboards, draw_page, draw_report
from pdscale_e2e.demo.report import Facts, Run, rows, write
from pdscale_e2e.demo.stage import Stage, staged, trace_path
from pdscale_e2e.demo.view import Voice, table
from pdscale_e2e.demo.watch import ROLES, Watcher
from pdscale_e2e.pictures.browser import NoBrowser
from pdscale_e2e.replay.run import Replay
from pdscale_e2e.replay.trace import Request, TraceError, load, published, shaped

EXAMPLE = "demo.yaml"
PICTURE_AT = 0.7  # of the trace
GPUS = 104  # the budgets of both objects in the example


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--seconds", type=float, default=180, help="length of the replay (default 180)")
    parser.add_argument("--seed", type=int, default=1, help="seed of thinning and prompts (default 1)")
    parser.add_argument(
        "--report", type=Path, default=Path("build/demo/report.html"), help="where the report goes"
    )
    parser.add_argument(
        "--pictures",
        type=Path,
        metavar="FOLDER",
        help="also draw the dashboards and the operator's page there",
    )
    args = parser.parse_args(argv)
    console = Console() if sys.stdout.isatty() else Console(width=120)
    say = Voice(console)
    try:
        name, requests = _requests(args.seconds, args.seed)
        say(f"trace: {name}, {len(requests)} requests in {args.seconds:g} s")
        with staged(say, example=EXAMPLE, gpus=GPUS) as stage:
            runs, facts = asyncio.run(_play(console, say, stage, requests, name, args))
            if args.pictures is not None:
                say("drawing the dashboards")
                draw_dashboards(stage, args.pictures)
    except (TraceError, ClusterUnavailable, NoBrowser) as error:
        console.print(f"demo: {error}", style="red", markup=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        say("interrupted; everything that was started has ended with its namespace")
        return 130
    write(args.report, runs, facts)
    if args.pictures is not None:
        draw_report(args.report, args.pictures)
    for measure, cells in rows(runs, facts):
        console.print(f"{measure:34}" + "".join(f"{r.name}: {cells[r.name]:28}" for r in runs), markup=False)
    say(f"report: {args.report}")
    failed = [o for run in runs for o in run.replay.failed]
    for outcome in failed[:5]:
        console.print(f"failed at {outcome.at:.1f}s: {outcome.error}", style="red", markup=False)
    return 1 if failed else 0


def _requests(seconds: float, seed: int) -> tuple[str, list[Request]]:
    path = trace_path()
    if path is None:
        return "generated from the figures published for Azure 2023 (conversation)", shaped(
            published(seed), seconds=seconds, seed=seed
        )
    return path.name, shaped(load(path), seconds=seconds, seed=seed)


async def _play(
    console: Console, say: Voice, stage: Stage, requests: list[Request], trace: str, args: argparse.Namespace
) -> tuple[list[Run], Facts]:
    names = [m["metadata"]["name"] for m in stage.objects]
    spec = stage.objects[0]["spec"]
    limits = (parse_duration(spec["slo"]["ttft"]), parse_duration(spec["slo"]["tpot"]))
    replays = {n: Replay(url=stage.url(n), model=spec["model"], seed=args.seed) for n in names}
    watcher = Watcher(stage, names)
    started = time.monotonic()
    watching = asyncio.create_task(watcher.run(started))
    say("replaying; Ctrl-C ends everything")
    playing = asyncio.gather(*(r.run(requests) for r in replays.values()))
    try:
        page = asyncio.create_task(_page(say, stage, args))
        await _show(console, playing, replays, watcher, started, limits)
        await page
        await _settle(watcher, spec)
    finally:
        for task in (playing, watching):
            task.cancel()
        await asyncio.gather(playing, watching, return_exceptions=True)
    facts = Facts(trace, requests[-1].at, args.seed, *limits, spec["slo"]["attainment"])
    return [Run(n, replays[n], watcher.samples.get(n, [])) for n in names], facts


async def _page(say: Voice, stage: Stage, args: argparse.Namespace) -> None:
    """The operator's page in the middle of the load, when there is most to see."""
    if args.pictures is not None:
        await asyncio.sleep(args.seconds * PICTURE_AT)
        await asyncio.to_thread(draw_page, stage, args.pictures)
        say("took a picture of the operator's page")


async def _show(
    console: Console,
    playing: "asyncio.Future[list[None]]",
    replays: dict[str, Replay],
    watcher: Watcher,
    started: float,
    limits: tuple[float, float],
) -> None:
    def now_table() -> Table:
        return table(replays, watcher.samples, now=time.monotonic() - started, limits=limits)

    if console.is_terminal:
        with Live(console=console, auto_refresh=False) as live:
            while not playing.done():
                live.update(now_table(), refresh=True)
                await asyncio.wait([playing], timeout=0.5)
    else:
        while not playing.done():
            await asyncio.wait([playing], timeout=15)
            console.print(now_table())
    await playing


async def _settle(watcher: Watcher, spec: dict[str, Any], within: float = 40) -> None:
    """Traffic is over: stay until the pools have shrunk, so that the report shows it."""
    until = time.monotonic() + within
    while time.monotonic() < until:
        last = watcher.samples["elastic"][-1]
        if all(getattr(last, role).desired == spec[role]["minReplicas"] for role in ROLES):
            return
        await asyncio.sleep(1)


if __name__ == "__main__":
    sys.exit(main())

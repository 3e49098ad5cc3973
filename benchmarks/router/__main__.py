"""``python -m benchmarks.router``: the table and the goals; or a decision's time; or memory over a soak."""

import argparse
import asyncio
import gc
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import uvloop

from benchmarks.router import decisions, soak, verdicts
from benchmarks.router.cells import FULL, QUICK, Cell, Scenario, measure
from benchmarks.router.connection import LoadFailed
from benchmarks.router.foreign import Missing
from benchmarks.router.pairs import with_compiled
from benchmarks.router.site import NotStarted, Running, Site, Stack, start
from benchmarks.router.stacks import STACKS
from benchmarks.rows import FOLDER, Row, publish
from pdscale_e2e import compiling


def main(argv: Sequence[str]) -> int:
    asked = _parser().parse_args(argv)
    if asked.policy_decision:
        return _publish("router-decisions", decisions.rows(), judge=asked.judge)
    proxies, ours = _cores()
    os.sched_setaffinity(0, {ours})
    known = _with_compiled() if asked.compiled else STACKS
    stacks, scenarios = _chosen(asked.only, known, quick=asked.quick)
    signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGINT))  # either ends what was started
    with _site(proxies) as site:
        gc.disable()  # ours would be a stall of the proxy's; there is little to collect
        if asked.soak:
            found = uvloop.run(soak.rows(site, asked.soak))
            return _publish("router-soak", found, judge=asked.judge)
        rounds = asked.rounds or (1 if asked.quick else 3)
        cells = uvloop.run(_table(site, stacks, scenarios, rounds=rounds, tries=asked.tries))
    _write(verdicts.markdown(cells), cells)
    code = _publish("router", verdicts.rows(cells), judge=asked.judge)
    lacking = [s.name for s in stacks if s.ours and not any(c.stack == s.name for c in cells)]
    if lacking:
        _say(f"no figure at all for {', '.join(lacking)}, see above")
    return code or bool(lacking)


def _write(table: str, cells: Sequence[Cell]) -> None:
    """The table for ``docs/results.md``, and every cell for whoever wants to look closer."""
    print(table)
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / "router.md").write_text(table)
    (FOLDER / "router.cells").write_text(json.dumps([asdict(c) for c in cells], indent=1) + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.router", description=__doc__)
    add = parser.add_argument
    add(
        "--quick",
        action="store_true",
        help="one short round (90 s) without floors instead of three (eight minutes)",
    )
    add("--compiled", action="store_true", help="ours also with its modules compiled (a quarter longer)")
    add("--rounds", type=int, default=0, help="how often every stack has its turn")
    add(
        "--tries",
        type=int,
        default=1,
        help="how often to repeat paced runs on a busy core; the calmest counts",
    )
    add("--only", default="", help="names of stacks and loads, with commas: nginx,ours-sidecar,short")
    add("--assert", dest="judge", action="store_true", help="end with an error if a goal is missed")
    add("--policy-decision", action="store_true", help="only the time of one placement decision")
    add("--soak", type=int, default=0, metavar="N", help="only the memory over N requests")
    return parser


async def _table(
    site: Site, stacks: Sequence[Stack], scenarios: Sequence[Scenario], *, rounds: int, tries: int
) -> list[Cell]:
    cells: list[Cell] = []
    try:
        running = await _started(stacks, site)
        for number in range(rounds):
            for scenario in scenarios:
                # Another order each round: nobody always runs after the same neighbour.
                for stack in running[number:] + running[:number]:
                    cells += await _cell(stack, site, scenario, number=number, tries=tries)
    finally:
        site.clear()
    order = [s.name for s in stacks]
    return sorted(cells, key=lambda c: order.index(c.stack))


async def _cell(stack: Running, site: Site, scenario: Scenario, *, number: int, tries: int) -> list[Cell]:
    """What is chosen by is the wait for the core, never the figure."""
    found: list[Cell] = []
    try:
        while not found or (scenario.streams and len(found) < tries and not found[-1].calm):
            found.append(await measure(stack, site, scenario, number))
    except (LoadFailed, OSError) as error:
        _say(f"{stack.stack.name}, {scenario.name}: no figure: {error}")
        return []
    cell = min(found, key=lambda c: c.waited)
    _say(f"round {number + 1}  {cell.scenario:7} {cell.stack:17} {cell.cpu_us:7.1f} us CPU")
    return [cell]


async def _started(stacks: Sequence[Stack], site: Site) -> list[Running]:
    starts = (asyncio.to_thread(start, stack, site) for stack in stacks)
    results = await asyncio.gather(*starts, return_exceptions=True)
    running = [r for r in results if isinstance(r, Running)]
    for stack, result in zip(stacks, results, strict=True):
        if isinstance(result, Missing | NotStarted):
            _say(f"{stack.name} is left out: {result}")
        elif isinstance(result, BaseException):
            raise result
    return running


def _chosen(only: str, known: Sequence[Stack], *, quick: bool) -> tuple[list[Stack], list[Scenario]]:
    """Loads and stacks may be named together; of whichever none is named, all are taken."""
    names, scenarios = {name for name in only.split(",") if name}, QUICK if quick else FULL
    possible = [*(s.name for s in known), *(s.name for s in scenarios)]
    if unknown := names - set(possible):
        sys.exit(f"--only must name some of {', '.join(possible)}; got {', '.join(sorted(unknown))}")
    stacks = [s for s in known if s.name in names] or [s for s in known if not (quick and s.extra)]
    return stacks, [s for s in scenarios if s.name in names] or list(scenarios)


def _with_compiled() -> Sequence[Stack]:
    try:
        return with_compiled(STACKS, compiling.compiled())
    except compiling.CannotCompile as error:
        sys.exit(f"--compiled: {error}")


def _cores() -> tuple[int, int]:
    """The proxies' core, and that of engines and clients."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) == 1:
        _say("there is one core only: engines and clients take the proxy's time, delays mean little")
    return cores[0], cores[-1]


@contextmanager
def _site(core: int) -> Iterator[Site]:
    with tempfile.TemporaryDirectory(prefix="pdscale-bench-") as folder, _engines() as ports:
        site = Site(ports["prefill"], ports["decode"], Path(folder), core)
        try:
            yield site
        finally:
            site.clear()


@contextmanager
def _engines() -> Iterator[dict[str, int]]:
    command = [sys.executable, "-m", "benchmarks.router.engine"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as engines:
        try:
            if engines.stdout is None:
                raise RuntimeError("the engines were started without a pipe")
            yield json.loads(engines.stdout.readline())
        finally:
            engines.terminate()


def _publish(name: str, rows: Sequence[Row], *, judge: bool) -> int:
    publish(name, rows)
    missed = [row for row in rows if row.ok is False]
    withheld = sum(row.config.startswith(verdicts.WITHHELD) for row in rows)
    _say(f"{sum(row.ok is True for row in rows)} goals met, {len(missed)} missed, {withheld} not judged")
    return 1 if missed and judge else 0


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

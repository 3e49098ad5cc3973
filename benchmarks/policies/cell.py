"""One policy under one draw of sessions: clients on, warm-up, the measured time, the rest of the answers.

Runs in several lanes begin and end together, so that nobody measures while another lane starts processes.
"""

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.policies.clients import Clients
from benchmarks.policies.excerpts import Planned
from benchmarks.policies.figures import Machine, Run
from benchmarks.policies.lane import Lane
from benchmarks.router.accounting import Spent, spent
from pdscale.router.policies import PolicyName


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds: what is not measured, what is, and how long its last requests may still take."""

    warm: float = 10.0
    measured: float = 40.0
    rest: float = 25.0

    @property
    def replayed(self) -> float:
        return self.warm + self.measured


@dataclass(frozen=True, slots=True)
class Cell:
    trace: str
    load: str
    seed: int
    policy: PolicyName
    sessions: tuple[Planned, ...]

    @property
    def label(self) -> str:
        return f"{self.trace}-{self.load}-{self.seed}-{self.policy}"


async def together(cells: Sequence[Cell], lanes: Sequence[Lane], times: Times) -> list[Run]:
    """A cell per lane."""
    await asyncio.gather(*(lane.route(cell.policy) for lane, cell in zip(lanes, cells, strict=False)))
    try:
        runs = (_run(cell, lane, times) for lane, cell in zip(lanes, cells, strict=False))
        return list(await asyncio.gather(*runs))
    finally:
        await asyncio.gather(*(lane.unroute() for lane in lanes))


async def _run(cell: Cell, lane: Lane, times: Times) -> Run:
    clock = asyncio.get_running_loop().time
    began = clock() + 0.5
    clients = Clients(lane.port, cell.label, until=began + times.replayed, patience=times.rest)
    replay = asyncio.ensure_future(clients.run(cell.sessions, began=began))
    await asyncio.sleep(began + times.warm - clock())
    before, at = _all_spent(lane), clock()
    await replay  # answers may be starved, too, after the last request has come
    machine = _machine(before, _all_spent(lane), clock() - at)
    measured = tuple(o for o in clients.outcomes if o.judged and began + times.warm <= o.due < clients.until)
    placements = await lane.placements()
    return Run(cell.trace, cell.policy, cell.load, cell.seed, lane.plant.slo, measured, machine, placements)


def _all_spent(lane: Lane) -> tuple[list[Spent], Spent, Spent]:
    return [spent([pid]) for pid in lane.engines], spent(lane.routers), spent([os.getpid()])


def _machine(
    before: tuple[list[Spent], Spent, Spent], after: tuple[list[Spent], Spent, Spent], seconds: float
) -> Machine:
    each = [b - a for a, b in zip(before[0], after[0], strict=True)]
    return Machine(
        engines=sum(s.cpu for s in each) / seconds,
        routers=(after[1] - before[1]).cpu / seconds,
        clients=(after[2] - before[2]).cpu / seconds,
        waited=max(s.waited for s in each) / seconds,
    )

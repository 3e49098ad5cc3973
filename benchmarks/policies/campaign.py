"""All runs of a comparison: the search for the load, then each policy and seed, a run per lane at a time.

Runs that say more of the machine than of the policy are made again, all of a batch together; of several tries
the one counts in which the engines waited least for a core, whatever it showed.
"""

import asyncio
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.policies.cell import Cell, Times, together
from benchmarks.policies.excerpts import Half, Shape, draw, half_of
from benchmarks.policies.figures import Run, summary
from benchmarks.policies.kept import Kept
from benchmarks.policies.lane import Lane
from benchmarks.policies.recorded import Recorded
from pdscale.perf.profile import Profile
from pdscale.router.policies import PolicyName

_STEPS: Final = 2  # of the search for the load, each with as many loads as there are lanes
_BETWEEN: Final = (0.3, 0.9)  # of the prefill replicas' time
_PRESSURE: Final = Path("/proc/pressure/cpu")
_CALM: Final = 10.0  # % of the last ten seconds in which somebody waited for a core


@dataclass(frozen=True, slots=True)
class Source:
    """Fitted sessions and, if it was told, their load in sessions per second."""

    name: str
    sessions: tuple[Recorded, ...]
    rate: float | None


@dataclass(frozen=True, slots=True)
class Campaign:
    """``patience`` is how many seconds may be waited in all for the machine to be calm before a batch."""

    lanes: Sequence[Lane]
    times: Times
    shape: Shape
    tries: int
    patience: float
    kept: Kept

    async def search(self, source: Source, *, target: float) -> float:
        """Where ``AlwaysRemote`` attains the target, by halving the share of the prefill replicas' time."""
        plant, sessions = self.lanes[0].plant, half_of(source.sessions, Half.DEVELOPMENT)
        full = plant.prefill / prefill_seconds(sessions, plant.profile)
        low, high = _BETWEEN
        for step in range(_STEPS):
            parts = len(self.lanes) + 1
            shares = [low + (high - low) * n / parts for n in range(1, parts)]
            cells = [
                self._cell(source, Half.DEVELOPMENT, full * s, step, PolicyName.ALWAYS_REMOTE) for s in shares
            ]
            for share, run in zip(shares, await self.batch(cells), strict=True):
                if run.outcomes and summary([run]).attained < target:
                    high = min(high, share)
                elif share < high:
                    low = max(low, share)
        return float(f"{full * (low + high) / 2:.3g}")  # as its label says it

    async def compare(
        self, source: Source, half: Half, rate: float, *, policies: Sequence[PolicyName], seeds: Sequence[int]
    ) -> None:
        """By seed; each seed begins with another policy, so that nobody always runs after the same one."""
        cells = [
            self._cell(source, half, rate, seed, policy)
            for number, seed in enumerate(seeds)
            for policy in _rotated(policies, number)
        ]
        lacking = [cell for cell in cells if self.kept.lacks(cell)]
        for at in range(0, len(lacking), len(self.lanes)):
            self.kept.add(await self.batch(lacking[at : at + len(self.lanes)]))

    async def batch(self, cells: Sequence[Cell]) -> list[Run]:
        tries: list[list[Run]] = []
        while not tries or (len(tries) < self.tries and any(run.invalid for run in tries[-1])):
            await _calm(self.patience)
            tries.append(await together(cells, self.lanes, self.times))
            for run in tries[-1]:
                tell(run)
        return min(tries, key=lambda runs: max(run.machine.waited for run in runs))

    def _cell(self, source: Source, half: Half, rate: float, seed: int, policy: PolicyName) -> Cell:
        sessions = half_of(source.sessions, half)
        drawn = draw(sessions, self.shape, rate=rate, seconds=self.times.replayed, seed=seed)
        return Cell(source.name, f"{rate:.3g} sessions/s", seed, policy, tuple(drawn))


def prefill_seconds(sessions: Sequence[Recorded], profile: Profile) -> float:
    """What a session's prompts take on an idle prefill replica, on average."""
    seconds = 0.0
    for session in sessions:
        history = 0
        for turn in session.turns:
            seconds += profile.prefill_seconds(turn.added, history)
            history += turn.added + turn.answer
    return seconds / len(sessions)


def tell(run: Run) -> None:
    """One line on standard error per run, as it ends."""
    if not run.outcomes:
        say(f"{run.trace}, {run.load}, seed {run.seed}, {run.policy}: no requests")
        return
    s, m = summary([run]), run.machine
    say(
        f"{run.trace}, {run.load}, seed {run.seed}, {run.policy:12} attained {s.attained:6.1%}, "
        f"strict {s.strict:6.1%}, TTFT {s.ttft_attained:6.1%}, TPOT {s.tpot_attained:6.1%}, "
        f"P50/P90/P99 {s.ttft[0]:.2f}/{s.ttft[1]:.2f}/{s.ttft[2]:.2f} s and "
        f"{s.tpot[0] * 1e3:.0f}/{s.tpot[1] * 1e3:.0f}/{s.tpot[2] * 1e3:.0f} ms, local {s.local:4.0%}, "
        f"{s.requests} requests, {s.failed} failed; cores {m.engines:.0%} {m.routers:.0%} {m.clients:.0%}, "
        f"waited {m.waited:.1%}, late {run.late * 1e3:.1f} ms" + (f": {run.invalid}" if run.invalid else "")
    )


def say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


async def _calm(patience: float) -> None:
    """Until the machine has had a core to spare for some seconds, where the kernel tells."""
    deadline = time.monotonic() + patience
    while (busy := _pressure()) > _CALM:
        if time.monotonic() >= deadline:
            say(f"the machine is busy with other things: {busy:.0f} % of the time somebody waits for a core")
            return
        await asyncio.sleep(2.0)


def _pressure() -> float:
    try:
        return float(_PRESSURE.read_text().split("avg10=")[1].split()[0])
    except (OSError, IndexError):
        return 0.0


def _rotated(policies: Sequence[PolicyName], by: int) -> Iterator[PolicyName]:
    at = by % len(policies)
    yield from policies[at:]
    yield from policies[:at]

"""Engines die at random under load, and clients notice nothing but the streams that died with them.

Real processes: emulated engines, a sidecar each, one front. ``PDSCALE_CHAOS_SECONDS`` is how long it takes;
``PDSCALE_CHAOS_SEED`` repeats the choices, though not the instants at which they meet the requests.
"""

import asyncio
import os
import random
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest

from fakes.conversations import Conversations, End, Outcome
from fakes.pods_api import FakePodsApi
from fakes.programs import Program, programs
from fakes.replicas import Replicas
from pdscale.model.pools import Role

SECONDS = float(os.environ.get("PDSCALE_CHAOS_SECONDS", "20"))
SEED = int(os.environ.get("PDSCALE_CHAOS_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
CLIENTS = 6
AT_FIRST = {Role.PREFILL: 2, Role.DECODE: 3}
APART = 2.0  # seconds between two deaths of decode engines
LEFT = {Role.PREFILL: 0, Role.DECODE: 1}  # so many of a role are never touched
BOUND = 30.0  # seconds that a request may take: many times what the slowest should
NOTICED = 3.0  # seconds within which a stream hears that its engine is dead
GROWTH_KIB = 12 * 1024


@dataclass
class Chaos:
    """Kills, crashes and retires replicas one after another, and brings new ones."""

    replicas: Replicas
    rng: random.Random
    done: Counter[str] = field(default_factory=Counter)
    decode_deaths: list[float] = field(default_factory=list)
    _under_way: list[asyncio.Task[None]] = field(default_factory=list)

    async def reign(self, *, until: float) -> None:
        clock = asyncio.get_running_loop().time
        while clock() < until:
            await asyncio.sleep(self.rng.uniform(0.6, 1.6))
            role = self.rng.choice(list(Role))
            candidates = self.replicas.of(role)
            if len(candidates) > LEFT[role] and (role is Role.PREFILL or self._is_calm(clock())):
                self._under_way.append(asyncio.ensure_future(self._strike(role)))
        await asyncio.gather(*self._under_way)

    def _is_calm(self, now: float) -> bool:
        return not self.decode_deaths or now - self.decode_deaths[-1] > APART

    def allows(self, outcome: Outcome) -> bool:
        """A request that two engines died under is not tried on a third: it may be what they died of."""
        began = outcome.at - outcome.seconds
        return sum(began <= died <= outcome.at for died in self.decode_deaths) > 1

    async def _strike(self, role: Role) -> None:
        victim = self.rng.choice(self.replicas.of(role))
        what = self.rng.choice(("kill", "kill", "crash", "retire"))
        self.done[f"{what} {role}"] += 1
        if role is Role.DECODE and what != "retire":
            self.decode_deaths.append(asyncio.get_running_loop().time())
        noticed_after = self.rng.uniform(0.0, 1.5)
        match what:
            case "kill":
                await self.replicas.kill(victim, noticed_after=noticed_after)
            case "crash":
                await self.replicas.crash(victim, noticed_after=noticed_after)
                return
            case "retire":
                await self.replicas.retire(victim)
        await self.replicas.add(role)


def exists(program: Program) -> bool:
    return Path(f"/proc/{program.pid}").exists()


async def figures(http: aiohttp.ClientSession, url: str) -> dict[str, float]:
    async with http.get(f"{url}/metrics") as answer:
        lines = [ln for ln in (await answer.text()).splitlines() if not ln.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


async def comes_to_rest(http: aiohttp.ClientSession, url: str, series: str) -> None:
    deadline = asyncio.get_running_loop().time() + 10
    while busy := {n: v for n, v in (await figures(http, url)).items() if n.startswith(series) and v}:
        assert asyncio.get_running_loop().time() < deadline, f"still at work: {busy}"
        await asyncio.sleep(0.1)


@pytest.mark.slow
async def test_only_streams_whose_engine_died_are_lost_and_they_are_told() -> None:
    clock = asyncio.get_running_loop().time
    async with FakePodsApi() as api, programs() as started, aiohttp.ClientSession() as http:
        replicas = Replicas(
            started,
            api,
            engine=("--speed", "0.5"),
            sidecar=("--placement", "Threshold", "--threshold-tokens", "120"),
        )
        await asyncio.gather(*(replicas.add(role) for role, n in AT_FIRST.items() for _ in range(n)))
        front = await started.router("--place", "front", *replicas.common)
        await is_ready(http, front)
        clients = Conversations(front.url, http, random.Random(SEED), BOUND)
        chaos = Chaos(replicas, random.Random(SEED))
        until = clock() + SECONDS
        talking = [asyncio.ensure_future(clients.talk(f"c{i}", until=until + 1)) for i in range(CLIENTS)]
        await asyncio.sleep(min(5.0, SECONDS / 4))
        settled = front.resident_kib()
        await chaos.reign(until=until)
        await asyncio.gather(*talking)

        grown, slowest = front.resident_kib() - settled, max(o.seconds for o in clients.outcomes)
        ends = Counter((o.end.name, o.streamed) for o in clients.outcomes)
        told = f"seed {SEED}: {dict(chaos.done)}, {ends}, slowest {slowest:.1f}s, front +{grown} KiB"
        print(told)
        failures = [f"{o.seconds:.2f}s, {o.detail}" for o in clients.ended(End.FAILED) if not chaos.allows(o)]
        assert not failures, "\n".join([told, *failures])
        for cut in clients.ended(End.CUT):
            assert any(0 <= cut.at - died < NOTICED for died in chaos.decode_deaths), told
        assert len(clients.ended(End.WHOLE)) > SECONDS, told
        assert sum(chaos.done.values()) > SECONDS / 4, told
        await comes_to_rest(http, front.admin, "pdscale_router_inflight_requests")
        for replica in replicas.here.values():
            await comes_to_rest(http, replica.sidecar.admin, "pdscale_router_inflight_requests")
            await comes_to_rest(http, replica.engine.url, "vllm:num_requests_running")
        assert grown < GROWTH_KIB, told
        for program in started.all:
            assert not any("Traceback" in line for line in program.said), "\n".join([told, *program.said])
    assert not any(map(exists, started.all))


async def is_ready(http: aiohttp.ClientSession, front: Program) -> None:
    deadline = asyncio.get_running_loop().time() + 30
    while True:
        async with http.get(f"{front.admin}/readyz") as answer:
            if answer.status == 200:
                return
        assert asyncio.get_running_loop().time() < deadline, "the front is never ready"
        await asyncio.sleep(0.05)

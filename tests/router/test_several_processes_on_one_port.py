"""A front of several processes: one port, one admin port, one sum; processes die and are replaced."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from fakes.fleet import Fleet, eventually, running_fleet
from fakes.programs import Program, programs
from pdscale.router.arguments import parse_settings

BODY = {"model": "fake", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 3}


@dataclass
class Crewed:
    """A front of two processes before one decode replica."""

    fleet: Fleet
    front: Program
    http: aiohttp.ClientSession

    async def chat(self, **more: object) -> str:
        """Each on a connection of its own, so that each is dealt out anew."""
        url = f"{self.front.url}/v1/chat/completions"
        async with self.http.post(url, json=BODY | more, headers={"Connection": "close"}) as answer:
            assert answer.status == 200
            return await answer.text()

    async def readiness(self) -> str:
        async with self.http.get(f"{self.front.admin}/readyz") as answer:
            text = (await answer.text()).strip()
            assert (answer.status == 200) == (text == "ok")
            return text

    async def figures(self) -> dict[str, float]:
        async with self.http.get(f"{self.front.admin}/metrics") as answer:
            lines = [ln for ln in (await answer.text()).splitlines() if not ln.startswith("#")]
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}

    async def ready(self) -> None:
        await self.becomes("ok")

    async def becomes(self, readiness: str) -> None:
        deadline = asyncio.get_running_loop().time() + 60
        while (now := await self.readiness()) != readiness:
            assert asyncio.get_running_loop().time() < deadline, f"never became {readiness}: {now}"
            await asyncio.sleep(0.05)


@asynccontextmanager
async def crewed(*arguments: str) -> AsyncIterator[Crewed]:
    async with running_fleet(prefill=0) as fleet, programs() as started, aiohttp.ClientSession() as http:
        sidecar = fleet.sidecars["d-0"]
        peers = f"decode=d-0=127.0.0.1:{sidecar.port}:{sidecar.admin_port}"
        front = await started.router(
            *("--place", "front", "--processes", "2", "--static-endpoints", peers, *arguments)
        )
        found = Crewed(fleet, front, http)
        await found.ready()
        yield found


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


async def served_by(child: int) -> float:
    """What one process says itself, at its own socket."""
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(admin_socket(child))) as http,
        http.get("http://x/metrics") as answer,
    ):
        lines = (await answer.text()).splitlines()
    return sum(float(ln.split()[-1]) for ln in lines if ln.startswith("pdscale_router_requests_total"))


def admin_socket(pid: int) -> str:
    words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    return words[words.index("--admin-socket") + 1].replace("@", "\0", 1)


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


async def all_gone(pids: list[int]) -> None:
    await eventually(lambda: all(map(gone, pids)), within=20, what="the end of all")


ENDED = 'pdscale_router_requests_total{code="200",place="front"}'
TTFT = 'pdscale_router_time_to_first_token_seconds_count{place="front"}'


async def test_requests_spread_and_their_counts_add_up() -> None:
    async with crewed() as crew:
        for _ in range(30):
            await crew.chat(stream=True)
        told = await crew.figures()
        parts = [await served_by(child) for child in children(crew.front.pid)]
        assert len(parts) == 2
        assert min(parts) > 0
        assert told[ENDED] == sum(parts) == 30
        assert told[TTFT] == 30
        assert told['pdscale_router_time_to_first_token_seconds_bucket{le="+Inf",place="front"}'] == 30
        assert told["pdscale_router_processes"] == 2
        assert told["pdscale_router_process_restarts_total"] == 0


async def test_a_killed_process_is_replaced_while_the_other_serves_and_no_count_is_lost() -> None:
    async with crewed() as crew:
        for _ in range(10):
            await crew.chat()
        assert (await crew.figures())[ENDED] == 10
        first, second = children(crew.front.pid)
        os.kill(first, signal.SIGKILL)
        await eventually(lambda: first not in children(crew.front.pid), within=20, what="its end")
        for _ in range(10):
            await crew.chat()
        assert (await crew.figures())[ENDED] == 20
        await crew.ready()
        now = children(crew.front.pid)
        assert second in now
        assert first not in now
        assert len(now) == 2
        told = await crew.figures()
        assert told["pdscale_router_process_restarts_total"] == 1
        assert told[ENDED] == 20
        assert any("ended with status -9" in line for line in crew.front.said)


async def test_one_signal_drains_all_of_them() -> None:
    async with crewed() as crew:
        pids = children(crew.front.pid)
        crew.fleet.engines["d-0"].gap = 0.3
        streams = [asyncio.ensure_future(crew.chat(stream=True)) for _ in range(6)]
        await eventually(lambda: len(crew.fleet.engines["d-0"].seen) == 6, within=20)
        crew.front.signal(signal.SIGTERM)
        await crew.becomes("draining")
        for text in await asyncio.gather(*streams):
            assert text.endswith("data: [DONE]\n\n")
        assert await asyncio.wait_for(crew.front.process.wait(), 20) == 0
        await all_gone(pids)


async def test_no_process_stays_when_the_first_one_is_killed() -> None:
    async with crewed() as crew:
        pids = children(crew.front.pid)
        crew.front.signal(signal.SIGKILL)
        await crew.front.process.wait()
        await all_gone(pids)


def test_a_sidecar_is_one_process(capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["--place", "sidecar", "--pod-name", "d", "--engine-url", "http://10.0.0.1:8000"]
    with pytest.raises(SystemExit):
        parse_settings([*argv, "--static-endpoints", "decode=d=10.0.0.1", "--processes", "2"], {})
    assert "processes must be 1 for a sidecar, got 2" in capsys.readouterr().err

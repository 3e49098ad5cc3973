"""A real Envoy whose endpoint picker is our front router: front, sidecars and emulated engines, no cluster.

Everything is a server on loopback. Envoy alone is another's: what it makes of the picker's messages is
what is tested here.
"""

import asyncio
import os
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from fakes.engine import KvWorld
from fakes.fleet import Fleet, Reply, converse, eventually, running_fleet
from pdscale.emulator.options import parse
from pdscale.emulator.server import EngineServer
from pdscale.model.pools import Role
from pdscale.router.policies import PolicyName
from pdscale_e2e import envoy
from pdscale_e2e.foreign_wheels import NotInstalled

DUPLEX = "FULL_DUPLEX_STREAMED"


def emulated(_: KvWorld, name: str) -> EngineServer:
    arguments = ["--host", "127.0.0.1", "--port", "0", "--speed", "50", "--model", "fake"]
    settings, _ignored = parse([*arguments, "--enable-prompt-tokens-details"], {})
    return EngineServer(settings)


@pytest.fixture(scope="module")
def program() -> None:
    try:
        envoy.program()
    except NotInstalled as error:
        if os.environ.get("E2E_REQUIRED"):
            pytest.fail(str(error))
        pytest.skip(str(error))


@asynccontextmanager
async def gateway(
    tmp_path: Path, *, body: str = DUPLEX, by_header: bool = True, **settings: Any
) -> AsyncIterator[tuple[Fleet, str]]:
    """A fleet, and the URL of an Envoy in front of it."""
    settings = {"decode": 2, "prefill": 0, "policy": PolicyName.ALWAYS_LOCAL, **settings}
    async with running_fleet(of_fronts={"endpoint_picker_port": 0}, **settings) as fleet:
        running = envoy.running(tmp_path, fleet.front.picker_port, body=body, by_header=by_header)
        url = await asyncio.to_thread(running.__enter__)
        try:
            yield fleet, url
        finally:
            await asyncio.to_thread(running.__exit__, None, None, None)


async def served(fleet: Fleet) -> dict[str, float]:
    series = 'requests_total{code="200",place="sidecar"}'
    return {name: await fleet.metric(router, series) for name, router in fleet.sidecars.items()}


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize(
    ("named", "body", "by_header"),
    [
        pytest.param({"headers": {"X-Session-ID": "s"}}, DUPLEX, True, id="by a header"),
        pytest.param({}, DUPLEX, False, id="by what was said, led by metadata"),
        pytest.param({"session_id": "s"}, "BUFFERED", True, id="by the body, buffered"),
    ],
)
@pytest.mark.usefixtures("program")
async def test_a_conversation_stays_with_the_replica_that_has_its_history(
    tmp_path: Path, named: dict[str, Any], body: str, by_header: bool, stream: bool
) -> None:
    async with gateway(tmp_path, body=body, by_header=by_header, new_engine=emulated) as (fleet, url):
        chat = partial(fleet.chat, url=url, stream=stream, **named)
        await converse(chat, rounds=4, words="some more words " * 60)
        assert sorted((await served(fleet)).values()) == [0, 4]
        prompt = await fleet.metric(fleet.front, 'prompt_tokens_total{place="front"}')
        uncached = await fleet.metric(fleet.front, 'uncached_prompt_tokens_total{place="front"}')
        if body == DUPLEX:  # of four prompts of 1, 2, 3, 4 parts, which are ten, four are new
            assert uncached / prompt == pytest.approx(4 / 10, abs=0.08)


@pytest.mark.usefixtures("program")
async def test_a_stream_s_first_piece_is_there_long_before_its_last(tmp_path: Path) -> None:
    async with gateway(tmp_path, new_engine=emulated) as (fleet, url):
        body = {"model": "fake", "stream": True, "max_tokens": 3000, "ignore_eos": True}
        body |= {"messages": [{"role": "user", "content": "x" * 150_000}]}
        async with fleet.client.post(f"{url}/v1/chat/completions", json=body) as answer:
            assert answer.status == 200
            assert not any(name.lower().startswith("x-pdscale-") for name in answer.headers)
            text = await answer.content.readany()
            assert sum((await served(fleet)).values()) == 0  # none that has ended
            text += await answer.content.read()
        assert sum((await served(fleet)).values()) == 1
        assert text.endswith(b"data: [DONE]\n\n")
        assert text.count(b"data: {") >= 3000


@pytest.mark.usefixtures("program")
async def test_a_drained_and_then_a_killed_replica_are_avoided(tmp_path: Path) -> None:
    async with gateway(tmp_path, decode=3) as (fleet, url):
        headers = {"X-Session-ID": "s"}

        async def ask() -> Reply:
            return await fleet.chat("hello", url=url, headers=headers)

        assert (await ask()).status == 200
        (first,) = (name for name, n in (await served(fleet)).items() if n)
        await fleet.api.apply(fleet.pod(first, draining=True))
        roster = fleet.front.roster

        def drains() -> bool:
            return any(e.name == first and e.draining for e in roster.view(0.0).of(Role.DECODE))

        await eventually(drains, what="the drain")
        assert (await ask()).status == 200
        after = await served(fleet)
        (second,) = (name for name, n in after.items() if n and name != first)
        await fleet.sidecars[second].stop()
        statuses = [(await ask()).status for _ in range(3)]
        # Envoy cannot ask another one, so one request is lost; the client's next one finds the last replica.
        assert statuses == [503, 200, 200]
        assert after[first] == 1


@pytest.mark.usefixtures("program")
async def test_without_a_replica_the_gateway_gives_our_refusal(tmp_path: Path) -> None:
    async with gateway(tmp_path, decode=1) as (fleet, url):
        await fleet.api.apply(fleet.pod("d-0", ready=False))
        roster = fleet.front.roster
        await eventually(
            lambda: not any(e.takes_new_work for e in roster.view(0.0).endpoints), what="nobody is ready"
        )
        refused = await fleet.chat("hello", url=url)
        assert (refused.status, refused.json["error"]["type"]) == (503, "NoDecodeReplica")
        assert {n.lower(): v for n, v in refused.headers.items()}["retry-after"] == "1"


@pytest.mark.usefixtures("program")
async def test_requests_without_a_body_and_clients_that_leave_end_well(tmp_path: Path) -> None:
    async with gateway(tmp_path, new_engine=emulated) as (fleet, url):
        async with fleet.client.get(f"{url}/v1/models") as answer:
            assert (answer.status, (await answer.json())["object"]) == (200, "list")
        body = {"model": "fake", "stream": True, "max_tokens": 5000, "ignore_eos": True}
        body |= {"messages": [{"role": "user", "content": "hello"}]}
        async with fleet.client.post(f"{url}/v1/chat/completions", json=body) as answer:
            await answer.content.readany()
            answer.close()
        inflight = 1.0
        async with asyncio.timeout(30):
            while inflight:
                inflight = await fleet.metric(fleet.front, 'inflight_requests{place="front"}')
        assert await fleet.metric(fleet.front, 'requests_total{code="499",place="front"}') == 1


@pytest.mark.usefixtures("program")
async def test_what_the_detour_costs_is_said_and_bounded(tmp_path: Path) -> None:
    """In turns, in one run: the ratio is what can be compared between machines. Our CPU time is bounded, as a
    median of times depends on who else computes here; client, sidecar and engine are in both."""
    async with gateway(tmp_path) as (fleet, url):
        took: dict[str, list[float]] = {fleet.url: [], url: []}
        used = dict.fromkeys(took, 0.0)
        for i in range(150):
            for way, times in took.items():
                began, before = time.perf_counter(), time.process_time()
                reply = await fleet.chat("hello", url=way, headers={"X-Session-ID": f"s-{i}"})
                assert reply.status == 200
                used[way] += time.process_time() - before
                times.append(time.perf_counter() - began)
        front, behind = (1000 * statistics.median(times) for times in took.values())
        print(
            f"\nfront {front:.1f} ms, Envoy with our picker {behind:.1f} ms: {behind / front:.1f} times",
            end="",
        )
        more = 1000 * (used[url] - used[fleet.url]) / len(took[url])
        print(f"; our CPU {used[url] / used[fleet.url]:.2f} times, {more:.2f} ms more a request")
        assert used[url] < 5 * used[fleet.url]

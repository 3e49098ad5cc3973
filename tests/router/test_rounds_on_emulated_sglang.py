"""The router against emulated SGLang engines, which keep rooms, patience and caches as a real one does."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from fakes.contract_sglang import RoomWorld
from fakes.fleet import Fleet, eventually, running_fleet
from pdscale.emulator.options import parse
from pdscale.emulator.server import EngineServer
from pdscale.engines.dialects import EngineType

LONG = "some more words " * 60


def unused_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def instances(bootstrap: int, *more: str) -> Callable[[RoomWorld, str], EngineServer]:
    """p-0 has the bootstrap server that all are told of; the others have theirs for nothing."""

    def instance(_: RoomWorld, name: str) -> EngineServer:
        mode = "prefill" if name.startswith("p") else "decode"
        port = bootstrap if name == "p-0" else 0
        arguments = ["--protocol", "sglang", "--host", "127.0.0.1", "--port", "0", "--model", "fake"]
        arguments += ["--disaggregation-mode", mode, "--disaggregation-bootstrap-port", str(port)]
        arguments += ["--disaggregation-decode-enable-radix-cache", "--enable-cache-report"]
        arguments += ["--speed", "50", *more]
        return EngineServer(parse(arguments, {})[0])

    return instance


@asynccontextmanager
async def emulated(*arguments: str, decode: int = 1, **settings: Any) -> AsyncIterator[Fleet]:
    port = unused_port()
    sglang: Any = {
        "engine_type": EngineType.SGLANG,
        "bootstrap_port": port,
        "new_engine": instances(port, *arguments),
    }
    async with running_fleet(decode=decode, **sglang, **settings) as fleet:
        yield fleet
        await eventually(lambda: all(map(is_empty, engines(fleet).values())), what="no engine holds anything")


def engines(fleet: Fleet) -> dict[str, EngineServer]:
    found: Any = fleet.engines
    return found  # type: ignore[no-any-return]


def is_empty(server: EngineServer) -> bool:
    return server.engine.idle and server.engine.cache.usage == 0


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
async def test_only_the_new_tokens_of_a_growing_session_are_computed(stream: bool) -> None:
    async with emulated() as fleet:
        messages: list[dict[str, str]] = []
        for i in range(6):
            messages.append({"role": "user", "content": f"round {i} {LONG}"})
            reply = await fleet.chat(messages, stream=stream, headers={"X-Session-ID": "s"})
            assert reply.status == 200, reply.text
            assert "bootstrap" not in reply.text
            messages.append({"role": "assistant", "content": reply.content})
        prompt = await fleet.metric(fleet.front, 'prompt_tokens_total{place="front"}')
        uncached = await fleet.metric(fleet.front, 'uncached_prompt_tokens_total{place="front"}')
        # Six prompts of 1, 2, ... 6 parts are 21 parts, of which 6 are new to the prefill replica's cache.
        assert uncached / prompt == pytest.approx(6 / 21, abs=0.08)
        assert await fleet.placements("d-0", "remote", "PolicyAlwaysRemote") == 6


async def test_many_rounds_at_once_meet_in_their_own_rooms() -> None:
    async with emulated(decode=2) as fleet:
        replies = await asyncio.gather(*(fleet.chat(f"session {i} {LONG}", stream=True) for i in range(24)))
        alone = [await fleet.chat(f"session {i} {LONG}", stream=True) for i in range(0, 24, 6)]
        assert {reply.status for reply in replies} == {200}
        assert [reply.content for reply in alone] == [reply.content for reply in replies[::6]]


@pytest.mark.parametrize("at", ["running", "decoding"])
async def test_a_client_that_leaves_leaves_nothing_behind(at: str) -> None:
    async with emulated("--speed", "0.2") as fleet:
        body = {"messages": [{"role": "user", "content": LONG}], "stream": True, "max_tokens": 50}
        async with aiohttp.ClientSession() as client:
            asked = asyncio.ensure_future(client.post(f"{fleet.url}/v1/chat/completions", json=body))
            p, d = engines(fleet)["p-0"].engine, engines(fleet)["d-0"].engine
            if at == "running":
                await eventually(lambda: p.running == 1 and d.loading == 1)
            else:
                await eventually(lambda: d.running == 1)
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)


async def test_a_prefill_engine_that_goes_fails_the_round_and_leaves_no_leg_waiting() -> None:
    async with emulated("--speed", "0.2") as fleet:
        asked = asyncio.ensure_future(fleet.chat(LONG, stream=True))
        p, d = engines(fleet)["p-0"], engines(fleet)["d-0"]
        await eventually(lambda: p.engine.running == 1 and d.engine.loading == 1)
        await p.stop()
        reply = await asyncio.wait_for(asked, 5)
        assert reply.status in (500, 502)
        await eventually(lambda: is_empty(d))

"""Whatever a client was waiting for when it left, no memory stays behind on either side."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from fakes.emulated import BIDIRECTIONAL, FAST, LIMITS, Client, prefill_leg
from pdscale.emulator.server import EngineServer
from pdscale.perf.profile import Segment

PROMPT = [{"role": "user", "content": " ".join(f"word{i}" for i in range(60))}]
SLOW_STEPS = replace(FAST, decode=(Segment(float("inf"), 0.02, 0.0, 0.0),))
SLOW_PREFILL = replace(FAST, prefill=(Segment(float("inf"), 20.0, 0.0, 0.0),))
SLOW_NETWORK = replace(FAST, transfer_fixed=20.0)


async def leg_of(client: Client, server: EngineServer) -> dict[str, Any]:
    answer = await client.chat(server.port, messages=PROMPT, max_tokens=1, kv_transfer_params=prefill_leg())
    assert answer.handed is not None
    return answer.handed


def is_empty(server: EngineServer) -> bool:
    engine = server.engine
    return (engine.running, engine.waiting, engine.cache.usage) == (0, 0, 0.0)


async def test_in_the_middle_of_a_stream(start: Any, client: Client, eventually: Callable[..., Any]) -> None:
    server = await start(profile=SLOW_STEPS)
    async with client.open(server.port, messages=PROMPT, max_tokens=400, stream=True) as response:
        await response.content.readline()
        assert server.engine.running == 1
    await eventually(lambda: is_empty(server))
    figures = await client.figures(server.port)
    assert figures['vllm:request_success_total{finished_reason="abort",}'] == 1
    assert (await client.get(server.port, "/load"))[1] == '{"server_load":0}'


@pytest.mark.parametrize("stream", [False, True])
async def test_during_the_prefill(
    stream: bool, start: Any, client: Client, eventually: Callable[..., Any]
) -> None:
    server = await start(profile=SLOW_PREFILL)
    params = prefill_leg()
    asked = asyncio.create_task(
        client.chat(server.port, messages=PROMPT, stream=stream, kv_transfer_params=params)
    )
    await eventually(lambda: server.engine.running == 1)
    asked.cancel()
    await eventually(lambda: is_empty(server))


async def test_in_the_queue_in_front_of_the_decode_engine(
    start: Any, client: Client, eventually: Callable[..., Any]
) -> None:
    prefill = await start()
    decode = await start(profile=SLOW_STEPS, limits=replace(LIMITS, max_sequences=1))
    leg = await leg_of(client, prefill)
    async with client.open(decode.port, messages=[*PROMPT, *PROMPT], stream=True) as response:
        await response.content.readline()
        asked = asyncio.create_task(client.chat(decode.port, messages=PROMPT, kv_transfer_params=leg))
        await eventually(lambda: decode.engine.wanting_kv == 1)
        assert prefill.engine.cache.usage > 0
        asked.cancel()
        await eventually(lambda: is_empty(prefill))
    await eventually(lambda: is_empty(decode))


async def test_during_the_transfer(start: Any, client: Client, eventually: Callable[..., Any]) -> None:
    prefill, decode = await start(), await start(profile=SLOW_NETWORK)
    leg = await leg_of(client, prefill)
    asked = asyncio.create_task(client.chat(decode.port, messages=PROMPT, kv_transfer_params=leg))
    await eventually(lambda: decode.engine.loading == 1)
    asked.cancel()
    await eventually(lambda: is_empty(prefill) and is_empty(decode))


async def test_a_long_transfer_keeps_the_lease_alive(
    start: Any, client: Client, eventually: Callable[..., Any]
) -> None:
    short = replace(BIDIRECTIONAL, lease=0.3)
    prefill = await start(transfer=short)
    decode = await start(transfer=short, profile=replace(FAST, transfer_fixed=1.0))
    leg = await leg_of(client, prefill)
    answer = await client.chat(decode.port, messages=PROMPT, max_tokens=2, kv_transfer_params=leg)
    assert answer.status == 200
    await eventually(lambda: is_empty(prefill))
    assert prefill.engine.stats.expired_leases == 0


async def test_a_refused_decode_leg_frees_its_prefill_leg(
    start: Any, client: Client, eventually: Callable[..., Any]
) -> None:
    prefill, decode = await start(), await start()
    leg = await leg_of(client, prefill)
    answer = await client.chat(decode.port, messages=PROMPT, model="huge", kv_transfer_params=leg)
    assert answer.status == 404
    await eventually(lambda: is_empty(prefill))

"""Real engines killed at each phase of a round: the client gets its answer all the same.

The tests use the engines up: each leaves one dead that the next one starts again, or does without.
"""

import asyncio
from typing import Any

import pytest

from pdscale_e2e.engines.addresses import TURNPIKE
from pdscale_e2e.engines.asks import FLAGS
from pdscale_e2e.engines.command import SHORT_LEASES
from pdscale_e2e.engines.processes import RealEngine, revive
from pdscale_e2e.engines.talk import TEXT, Client
from pdscale_e2e.engines.turnpike import turnpike

BODY = {"prompt": list(range(90)) * 3, "max_tokens": 6}
REMOTE = ("--placement", "AlwaysRemote")


async def test_what_the_router_must_never_send(engines: list[RealEngine], client: Client) -> None:
    """Both take memory from an engine for good. The engines asked here are killed by the next tests."""
    both_ways, _, one_way = engines
    await client.ask(both_ways.url, TEXT, {**BODY, "kv_transfer_params": {"colour": "red"}})
    history = {
        **FLAGS,
        "remote_block_ids": [[1, 2, 3, 4, 5, 6, 7, 8]],
        "remote_engine_id": "nobody",
        "remote_request_id": "none",
        "remote_host": both_ways.address,
        "remote_port": 5600,
        "remote_num_tokens": 256,
    }
    # It waits for KV that its connector, without bidirectional_kv_xfer, never asks for.
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(8):
            await client.ask(one_way.url, TEXT, {**BODY, "max_tokens": 1, "kv_transfer_params": history})
    await asyncio.sleep(SHORT_LEASES["kv_lease_duration"] + 3)  # longer than any lease
    assert both_ways.kv_usage() > 0
    assert one_way.kv_usage() > 0


async def test_a_prefill_engine_killed_between_the_legs_and_one_that_is_dead(
    all_engines: list[RealEngine], client: Client, routed: Any
) -> None:
    prefill, decode, spare = all_engines
    await asyncio.to_thread(revive, all_engines)
    alone = await client.ask(spare.url, TEXT, BODY)

    async def kill() -> None:
        await asyncio.to_thread(prefill.kill)

    async with turnpike(TURNPIKE, prefill) as gate:
        gate.answered = kill
        where = {prefill.address: TURNPIKE}
        with routed([prefill], [decode], *REMOTE, seen_at=where) as routers:
            between = await client.ask(routers.url, TEXT, BODY, session="between")
            assert routers.placements() == {("local", "TransferFailed"): 1}
            before = await client.ask(routers.url, TEXT, {**BODY, "stream": True}, session="before")
            assert routers.placements() == {("local", "TransferFailed"): 1, ("local", "PrefillFailed"): 1}
    assert (between.status, between.tokens) == (200, alone.tokens), between.text
    assert (before.status, before.tokens) == (200, alone.tokens), before.text


async def test_a_prefill_engine_killed_while_it_computes_and_a_decode_engine_before_its_first_byte(
    all_engines: list[RealEngine], client: Client, routed: Any
) -> None:
    first, second, third = all_engines
    await asyncio.to_thread(revive, [first])
    alone = await client.ask(third.url, TEXT, BODY)

    async def kill() -> None:
        await asyncio.to_thread(first.kill)

    async with turnpike(TURNPIKE, first) as gate:
        gate.arrived = kill
        where = {first.address: TURNPIKE}
        with routed([first], [second, third], *REMOTE, seen_at=where) as routers:
            answer = await client.ask(routers.url, TEXT, BODY, session="during")
            assert routers.placements() == {("local", "PrefillFailed"): 1}
            assert (answer.status, answer.tokens) == (200, alone.tokens), answer.text
    with routed([], [second, third], "--placement", "AlwaysLocal") as routers:
        long = {"prompt": list(range(90)) * 40, "max_tokens": 3}
        asking = asyncio.ensure_future(client.ask(routers.url, TEXT, long, session="lost"))
        victim = await _at_work([second, third])
        await asyncio.to_thread(victim.kill)
        found = await asking
        survivor = third if victim is second else second
        expected = await client.ask(survivor.url, TEXT, long)
    assert (found.status, found.tokens) == (200, expected.tokens), found.text


async def _at_work(engines: list[RealEngine]) -> RealEngine:
    """The engine that has the request now."""
    async with asyncio.timeout(30):
        while True:
            for engine in engines:
                figures = await asyncio.to_thread(engine.figures)
                running = figures.total("vllm:num_requests_running")
                if running + figures.total("vllm:num_requests_waiting"):
                    return engine
            await asyncio.sleep(0.01)

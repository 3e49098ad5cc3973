"""Real engines killed at each phase of a round: the client gets its answer all the same.

Starts are what takes time, so the tests share them: each leaves one engine dead, which the next one does
without, or finds on its way up again. Any of them alone starts what it needs.
"""

import asyncio
from typing import Any

import pytest

from pdscale_e2e.engines.addresses import TURNPIKE
from pdscale_e2e.engines.asks import FLAGS
from pdscale_e2e.engines.command import SHORT_LEASES
from pdscale_e2e.engines.processes import RealEngine, revive
from pdscale_e2e.engines.talk import TEXT, Answer, Client
from pdscale_e2e.engines.turnpike import turnpike

SHORT = {"prompt": list(range(90)) * 3, "max_tokens": 6}
PROMPT = list(range(90)) * 40  # long enough to be killed over
LONG = {"prompt": PROMPT, "max_tokens": 3}
LOCAL = ("--placement", "AlwaysLocal")
REMOTE = ("--placement", "AlwaysRemote")


async def test_a_decode_engine_killed_before_its_first_byte(
    all_engines: list[RealEngine], client: Client, routed: Any
) -> None:
    first, second, _ = all_engines
    await asyncio.to_thread(revive, [first, second])
    with routed([], [first, second], *LOCAL) as routers:
        victim, body, asking = await _caught(client, routers.url, [first, second])
        await asyncio.to_thread(victim.kill)
        found = await asking
    victim.start()  # comes up while the next tests run
    survivor = second if victim is first else first
    assert_same(found, await client.ask(survivor.url, TEXT, body))


async def test_what_the_router_must_never_send(all_engines: list[RealEngine], client: Client) -> None:
    """Both take memory from an engine for good: those asked here do not outlive the tests of this file."""
    both_ways, one_way = _serving(all_engines[:2]), all_engines[2]
    await asyncio.to_thread(revive, [both_ways, one_way])
    await client.ask(both_ways.url, TEXT, {**SHORT, "kv_transfer_params": {"colour": "red"}})
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
    waits_for = 3.0 + SHORT_LEASES["kv_lease_duration"]  # longer than any lease
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(waits_for):
            await client.ask(one_way.url, TEXT, {**SHORT, "max_tokens": 1, "kv_transfer_params": history})
    assert both_ways.kv_usage() > 0
    assert one_way.kv_usage() > 0


async def test_a_prefill_engine_killed_while_it_computes_and_then_dead(
    all_engines: list[RealEngine], client: Client, routed: Any
) -> None:
    decode, prefill = _serving(all_engines[:2]), all_engines[2]
    await asyncio.to_thread(revive, [decode, prefill])

    async def kill() -> None:
        assert await _at_work([prefill]) is prefill
        await asyncio.to_thread(prefill.kill)

    async with turnpike(TURNPIKE, prefill) as gate:
        gate.arrived, gate.answered = kill, _too_late
        with routed([prefill], [decode], *REMOTE, seen_at={prefill.address: TURNPIKE}) as routers:
            during = await client.ask(routers.url, TEXT, LONG, session="during")
            assert gate.legs == 1
            gate.arrived = _nothing
            before = await client.ask(routers.url, TEXT, {**SHORT, "stream": True}, session="before")
            assert routers.placements() == {("local", "PrefillFailed"): 2}
    assert_same(during, await client.ask(decode.url, TEXT, LONG))
    assert_same(before, await client.ask(decode.url, TEXT, SHORT))


async def test_a_prefill_engine_killed_between_the_legs(
    all_engines: list[RealEngine], client: Client, routed: Any
) -> None:
    decode = _serving(all_engines[:2])
    (prefill,) = (engine for engine in all_engines[:2] if engine is not decode)
    await asyncio.to_thread(revive, [prefill, decode])

    async def kill() -> None:
        await asyncio.to_thread(prefill.kill)

    async with turnpike(TURNPIKE, prefill) as gate:
        gate.answered = kill
        with routed([prefill], [decode], *REMOTE, seen_at={prefill.address: TURNPIKE}) as routers:
            between = await client.ask(routers.url, TEXT, SHORT, session="between")
            assert routers.placements() == {("local", "TransferFailed"): 1}
    assert_same(between, await client.ask(decode.url, TEXT, SHORT))


def assert_same(found: Answer, alone: Answer) -> None:
    """``alone`` is what an engine says that is asked directly."""
    assert (found.status, found.tokens) == (200, alone.tokens), found.text


async def _nothing() -> None:
    """The leg passes."""


async def _too_late() -> None:
    """An answer that an engine gave between being seen at work and its end goes down with it."""
    raise ConnectionResetError("the engine was killed before its answer was passed on")


def _serving(engines: list[RealEngine]) -> RealEngine:
    """One that answers now; else the first."""
    return next((engine for engine in engines if engine.answers), engines[0])


async def _caught(
    client: Client, url: str, engines: list[RealEngine]
) -> tuple[RealEngine, dict[str, Any], asyncio.Future[Answer]]:
    """An engine at work on a request, the request's body, and its answer to come."""
    for first in range(5):  # a prompt of its own each time, which no engine has in its cache
        body = {"prompt": [first, *PROMPT], "max_tokens": 40}
        asking = asyncio.ensure_future(client.ask(url, TEXT, body, session=f"lost-{first}"))
        if (engine := await _at_work(engines, unless=asking)) is not None:
            return engine, body, asking
    raise AssertionError("five answers were there before an engine was seen at work")


async def _at_work(
    engines: list[RealEngine], *, unless: asyncio.Future[Any] | None = None
) -> RealEngine | None:
    """The engine that has the request now; none, if the answer was there before that was seen."""
    async with asyncio.timeout(30):
        while unless is None or not unless.done():
            for engine in engines:
                figures = await asyncio.to_thread(engine.figures)
                if figures.total("vllm:num_requests_running"):
                    return engine
            await asyncio.sleep(0.01)
    return None

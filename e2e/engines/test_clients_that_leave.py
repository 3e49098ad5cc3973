"""Clients that break off, at each phase of a round: what real engines hold is free again soon."""

import asyncio
import math
import random
import time
from typing import Any

import pytest

from pdscale_e2e.engines.addresses import TURNPIKE
from pdscale_e2e.engines.command import SHORT_LEASES
from pdscale_e2e.engines.processes import RealEngine
from pdscale_e2e.engines.talk import CHAT, TEXT, Client, Conversation, words
from pdscale_e2e.engines.turnpike import Act, turnpike
from pdscale_e2e.waiting import eventually

SOON = 2.0
REMOTE = ("--placement", "AlwaysRemote")
LEASE = SHORT_LEASES["kv_lease_duration"]
# An answer that ended has its history kept for the next round, by design; this one takes seconds, so that a
# client that goes after three events goes in its middle, on a busy machine too.
LONG = {"prompt": list(range(90)) * 20, "max_tokens": 2200, "stream": True}


def free(engines: list[RealEngine]) -> bool:
    return all(engine.kv_usage() == 0 for engine in engines)


async def wait_free(engines: list[RealEngine], *, within: float) -> float:
    """Seconds until no block is held."""
    began = time.monotonic()
    await asyncio.to_thread(
        eventually, lambda: free(engines), within=within, what="no engine holds a block", every=0.05
    )
    return time.monotonic() - began


async def leave(client: Client, url: str, *, events: int = 0, told: asyncio.Event | None = None) -> None:
    """Break off after so many events, or when told to."""

    async def ask() -> None:
        async with client.open(url, TEXT, LONG, session="leaves") as answer:
            seen = 0
            async for line in answer.content:
                seen += line.startswith(b"data: ")
                if events and seen >= events:
                    return

    asking = asyncio.ensure_future(ask())
    if told is not None:
        await asyncio.wait_for(told.wait(), 30)
        asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)


@pytest.mark.parametrize("placement", ["AlwaysLocal", "AlwaysRemote"])
async def test_in_the_middle_of_a_stream(
    free_engines: list[RealEngine], client: Client, routed: Any, placement: str
) -> None:
    prefill, decode, _ = free_engines
    with routed([prefill], [decode], "--placement", placement) as routers:
        await leave(client, routers.url, events=3)
        took = await wait_free([prefill, decode], within=SOON)
    print(f"free after {took:.2f}s")


async def test_while_the_prefill_leg_is_under_way(
    free_engines: list[RealEngine], client: Client, routed: Any
) -> None:
    """A prefill that ends in the step in which its client leaves has ended well.

    Its blocks wait for a decode leg that never comes, until the lease is over.
    """
    prefill, decode, _ = free_engines
    told = asyncio.Event()

    async def arrived() -> None:
        told.set()

    async with turnpike(TURNPIKE, prefill) as gate:
        gate.arrived = arrived
        with routed([prefill], [decode], *REMOTE, seen_at={prefill.address: TURNPIKE}) as routers:
            await leave(client, routers.url, told=told)
            took = await wait_free([prefill, decode], within=LEASE + 4)
        assert gate.legs == 1
    print(f"free after {took:.2f}s")


async def test_as_the_decode_leg_begins(free_engines: list[RealEngine], client: Client, routed: Any) -> None:
    """The prefill's answer is on its way to the sidecar when the client goes, some moments later.

    A client that is gone before the sidecar has sent the decode leg leaves blocks to the prefill's lease. On
    a busy machine that is later, so the client waits longer at each of three tries.
    """
    prefill, decode, _ = free_engines
    async with turnpike(TURNPIKE, prefill) as gate:
        with routed([prefill], [decode], *REMOTE, seen_at={prefill.address: TURNPIKE}) as routers:
            took = math.inf
            for moments in (0.01, 0.05, 0.25):
                told = asyncio.Event()
                gate.answered = _telling(told, after=moments)
                await leave(client, routers.url, told=told)
                took = await wait_free([prefill, decode], within=LEASE + 4)
                print(f"gone after {moments}s, free after {took:.2f}s")
                if took < SOON:
                    break
    assert took < SOON


def _telling(told: asyncio.Event, *, after: float) -> Act:
    async def act() -> None:
        asyncio.get_running_loop().call_later(after, told.set)

    return act


async def test_nothing_stays_pinned_after_mixed_rounds_and_cancellations(
    free_engines: list[RealEngine], client: Client, routed: Any
) -> None:
    prefill, decode, _ = free_engines
    chance = random.Random(20)
    failed: list[str] = []

    async def hold(number: int) -> None:
        form = (TEXT, CHAT)[number % 2]
        conversation = Conversation(f"mixed-{number}", form, number % 4 < 2, random.Random(number), 5)
        for _ in range(10):
            body = conversation.next_body(many=12)
            if chance.random() < 0.2:
                gone = chance.uniform(0.0, 0.6)
                await client.leave_after(gone, routers.url, form, body, conversation.name)
                continue
            answer = await client.ask(routers.url, form, body, session=conversation.name)
            if not answer.ended_well:
                failed.append(f"{conversation.name}: {answer.status} {answer.text[:200]}")
                return
            conversation.heard(answer)

    # Half of the rounds are longer than that: local and remote in turn.
    policy = ("--placement", "Threshold", "--threshold-tokens", "90")
    with routed([prefill], [decode], *policy) as routers:
        await asyncio.gather(*(hold(number) for number in range(20)))
        placed = routers.placements()
    assert failed == []
    assert {kind for kind, _ in placed} == {"local", "remote"}, placed
    print(f"placements: {placed}, free after {await wait_free([prefill, decode], within=LEASE + 10):.1f}s")
    answer = await client.ask(decode.url, CHAT, {"messages": [{"role": "user", "content": words(5, chance)}]})
    assert answer.status == 200

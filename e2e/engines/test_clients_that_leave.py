"""Clients that break off, at each phase of a round: what real engines hold is free again soon."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from pdscale_e2e.engines.addresses import TURNPIKE
from pdscale_e2e.engines.command import SHORT_LEASES
from pdscale_e2e.engines.processes import RealEngine
from pdscale_e2e.engines.talk import CHAT, TEXT, Client, Conversation, words
from pdscale_e2e.engines.turnpike import Turnpike, turnpike
from pdscale_e2e.waiting import eventually

SOON = 2.0
LEASE = SHORT_LEASES["kv_lease_duration"]
LONG = {"prompt": list(range(90)) * 20, "max_tokens": 200, "stream": True}


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


Set = Callable[[Turnpike, asyncio.Event], None]


def on_arrival(gate: Turnpike, told: asyncio.Event) -> None:
    gate.arrived = _telling(told)


def on_answer(gate: Turnpike, told: asyncio.Event) -> None:
    """The answer is on its way to the sidecar when the client goes, so the decode leg is being sent."""

    async def act() -> None:
        asyncio.get_running_loop().call_later(0.01, told.set)

    gate.answered = act


def _telling(told: asyncio.Event) -> Callable[[], Awaitable[None]]:
    async def act() -> None:
        told.set()

    return act


@pytest.mark.parametrize(
    ("set_up", "within"),
    [
        # A prefill that ends in the step in which its client leaves has ended well: its blocks wait for a
        # decode leg that never comes, until the lease is over.
        pytest.param(on_arrival, LEASE + 4, id="during_the_prefill_leg"),
        pytest.param(on_answer, SOON, id="as_the_decode_leg_begins"),
    ],
)
async def test_before_the_first_byte(
    free_engines: list[RealEngine], client: Client, routed: Any, set_up: Set, within: float
) -> None:
    prefill, decode, _ = free_engines
    told = asyncio.Event()
    async with turnpike(TURNPIKE, prefill) as gate:
        set_up(gate, told)
        where = {prefill.address: TURNPIKE}
        with routed([prefill], [decode], "--placement", "AlwaysRemote", seen_at=where) as routers:
            await leave(client, routers.url, told=told)
            took = await wait_free([prefill, decode], within=within)
            assert gate.legs == 1
    print(f"free after {took:.2f}s")


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

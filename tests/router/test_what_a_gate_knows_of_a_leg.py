"""What a leg costs depends on the history that its new tokens look at, and on whether that can be read."""

import asyncio

import pytest

from fakes.engine import KvWorld
from fakes.fleet import Fleet, eventually, running_fleet
from fakes.scripted import Fault
from pdscale.router import assembly
from pdscale.router.flows.gate import Gate
from pdscale.router.flows.tools import Tools
from pdscale.router.policies import QueueOrder
from pdscale.router.settings import Settings

WORDS = "some words " * 200


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, float]]:
    """(new, history) of each leg that a gate prices. (Compiled methods cannot be watched, attributes can.)"""
    seen: list[tuple[float, float]] = []
    build = assembly._gate

    def watched(tools: Tools, settings: Settings) -> Gate:
        gate = build(tools, settings)
        price = gate.seconds_of

        def noting(new: float, history: float) -> float:
            seen.append((new, history))
            return price(new, history)

        gate.seconds_of = noting
        return gate

    monkeypatch.setattr(assembly, "_gate", watched)
    return seen


async def two_rounds(fleet: Fleet) -> None:
    messages = [{"role": "user", "content": WORDS}]
    for _ in range(2):
        reply = await fleet.chat(messages, headers={"X-Session-ID": "s"})
        assert reply.status == 200
        messages += [{"role": "assistant", "content": "w0"}, {"role": "user", "content": WORDS}]


async def test_a_leg_tells_of_the_history_that_comes_with_it(told: list[tuple[float, float]]) -> None:
    async with running_fleet() as fleet:
        await two_rounds(fleet)
        assert fleet.engines["p-0"].seen[1].body["kv_transfer_params"]["remote_block_ids"]
    (first, none), (increment, history) = told
    assert none == 0
    assert history == pytest.approx(first, rel=0.2)
    assert increment == pytest.approx(first, rel=0.2)


async def test_a_history_that_is_gone_is_work_and_no_history(told: list[tuple[float, float]]) -> None:
    async with running_fleet(world=KvWorld(ttl=1.0)) as fleet:  # expired on arrival
        await two_rounds(fleet)
        assert fleet.engines["p-0"].seen[1].body["kv_transfer_params"]["remote_block_ids"] is None
    (first, _), (whole, history) = told
    assert whole == pytest.approx(2 * first, rel=0.2)
    assert history == 0


async def test_a_few_tokens_after_a_long_history_are_no_short_leg() -> None:
    """Llama-3.1-8B on H100: 1000 tokens after 100 000 take 100 ms, 3000 without a history 65 ms."""
    async with running_fleet(admit=1, queue_order=QueueOrder.SHORTEST_REMAINING) as fleet:
        engine, gate = fleet.engines["p-0"], f"http://127.0.0.1:{fleet.sidecars['p-0'].port}"
        own = fleet.sidecars["p-0"]._own
        assert own is not None
        blank = {"do_remote_decode": True, "do_remote_prefill": False}

        async def send(text: str, new: int, history: int) -> int:
            lengths = {"x-pdscale-uncached-tokens": str(new), "x-pdscale-history-tokens": str(history)}
            headers = {"x-pdscale-leg": "prefill", **lengths}
            more = {"max_tokens": 1, "stream": False, "kv_transfer_params": blank}
            return (await fleet.chat(text, url=gate, headers=headers, **more)).status

        engine.faults.append(Fault.STALL)
        first = asyncio.create_task(send("first", 10, 0))
        await asyncio.wait_for(engine.reached.wait(), timeout=5)
        rest = [asyncio.create_task(send("deep", 1000, 100_000)), asyncio.create_task(send("flat", 3000, 0))]
        await eventually(lambda: own.queued_tokens == 4010, what="both wait at the gate")
        first.cancel()
        assert await asyncio.gather(*rest) == [200, 200]
        assert [seen.body["messages"][0]["content"] for seen in engine.seen] == ["first", "flat", "deep"]

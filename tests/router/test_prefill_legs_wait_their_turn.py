"""The queue in front of a prefill engine, with real tasks waiting in it."""

import asyncio

from fakes.fleet import eventually, running_fleet
from fakes.scripted import Fault
from pdscale.model.slo import SLO
from pdscale.placement.ordering import PrefillLeg
from pdscale.placement.policy import BusyReason
from pdscale.router.flows.turnstile import Turnstile
from pdscale.router.policies import QueueOrder, admission_of


def leg(seconds: float, *, arrived: float = 0.0) -> PrefillLeg:
    return PrefillLeg(arrived=arrived, seconds=seconds, deadline=arrived + 2.0)


def turnstile(order: QueueOrder = QueueOrder.SHORTEST_REMAINING, **more: object) -> Turnstile:
    return Turnstile(admission_of(order, **more), clock=lambda: 0.0)  # type: ignore[arg-type]


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_legs_go_at_once_while_there_is_room_and_then_the_shortest_first() -> None:
    gate, went = turnstile(admit=1), list[float]()

    async def go(one: PrefillLeg) -> None:
        assert await gate.enter(one) is None
        went.append(one.seconds)

    first, long, short = leg(1.0), leg(5.0), leg(0.1)
    tasks = [asyncio.create_task(go(each)) for each in (first, long, short)]
    await settled()
    assert (went, gate.waiting) == ([1.0], 2)
    gate.leave(first)
    await settled()
    gate.leave(short)
    await asyncio.gather(*tasks)
    assert went == [1.0, 0.1, 5.0]


async def test_a_caller_that_leaves_gives_its_place_up_queued_or_just_admitted() -> None:
    gate = turnstile(admit=1)
    first, second, third = leg(1.0), leg(2.0), leg(3.0)
    await gate.enter(first)
    waiting = asyncio.create_task(gate.enter(second))
    last = asyncio.create_task(gate.enter(third))
    await settled()
    waiting.cancel()
    await settled()
    assert gate.waiting == 1
    gate.leave(first)  # the third is let in, and its caller is gone in the same instant
    last.cancel()
    await settled()
    assert (gate.waiting, gate.admission.admitted) == (0, 0)
    assert await asyncio.wait_for(gate.enter(leg(1.0)), timeout=1) is None


async def test_a_full_queue_and_a_hopeless_leg_are_told_at_once() -> None:
    full = turnstile(admit=1)
    full.admission.most_waiting = 1
    await full.enter(leg(1.0))
    waiting = asyncio.create_task(full.enter(leg(1.0)))
    await settled()
    busy = await full.enter(leg(1.0))
    assert busy is not None
    assert (busy.reason, busy.status) == (BusyReason.QUEUE_FULL, 429)
    waiting.cancel()
    late = turnstile(reject_late=True)
    busy = await late.enter(leg(3.0))
    assert busy is not None
    assert busy.reason is BusyReason.TOO_LATE
    assert late.waiting == 0


async def test_a_gate_sends_legs_to_its_engine_in_the_queues_order() -> None:
    async with running_fleet(admit=1) as fleet:
        engine, gate = fleet.engines["p-0"], f"http://127.0.0.1:{fleet.sidecars['p-0'].port}"
        blank = {"do_remote_decode": True, "do_remote_prefill": False}

        async def send(text: str, tokens: int) -> int:
            headers = {"x-pdscale-leg": "prefill", "x-pdscale-uncached-tokens": str(tokens)}
            more = {"max_tokens": 1, "stream": False, "kv_transfer_params": blank}
            return (await fleet.chat(text, url=gate, headers=headers, **more)).status

        engine.faults.append(Fault.STALL)
        first = asyncio.create_task(send("first", 10))
        await asyncio.wait_for(engine.reached.wait(), timeout=5)
        own = fleet.sidecars["p-0"]._own
        assert own is not None
        rest = [asyncio.create_task(send("long", 50_000)), asyncio.create_task(send("short", 100))]
        await eventually(lambda: own.queued_tokens == 50_110, what="both wait at the gate")
        first.cancel()
        assert await asyncio.gather(*rest) == [200, 200]
        assert [seen.body["messages"][0]["content"] for seen in engine.seen] == ["first", "short", "long"]
        assert own.queued_tokens == 0


async def test_a_gate_that_refuses_makes_the_round_local() -> None:
    async with running_fleet(admit=1, reject_late=True, slo=SLO(ttft=1e-6, tpot=1.0)) as fleet:
        reply = await fleet.chat("hello")
        assert reply.status == 200
        assert fleet.engines["p-0"].seen == []
        assert fleet.engines["d-0"].kinds == ["plain"]
        assert await fleet.placements("d-0", "local", "PrefillFailed") == 1

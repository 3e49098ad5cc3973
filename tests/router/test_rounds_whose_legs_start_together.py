"""SGLang's rounds over real sockets: two legs that meet in a room, on strict fake engines of a role."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from fakes.contract_sglang import FIELDS, OVERRIDES, RoomWorld
from fakes.engine_sglang import FakeSGLang
from fakes.fleet import Fleet, Reply, eventually, running_fleet
from fakes.scripted import Fault
from pdscale.engines.dialects import EngineType
from pdscale.model.cluster import Load
from pdscale.model.pools import Role
from pdscale.router.policies import PolicyName

SESSION = {"X-Session-ID": "s"}
EITHER = pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])


@asynccontextmanager
async def rooms(**more: Any) -> AsyncIterator[Fleet]:
    """A fleet of SGLang engines in which p-0 is everybody's first choice. No rule is broken in any test."""
    world = RoomWorld(patience=20.0)
    sglang: Any = {"world": world, "new_engine": FakeSGLang, "engine_type": EngineType.SGLANG}
    async with running_fleet(**sglang, **more) as fleet:
        busier = Load(queued_tokens=1000, seen_at=float("inf"))  # never outdated
        for name, router in fleet.sidecars.items():
            if fleet.roles[name] == "decode":
                router.roster.heard("p-1", busier)
        yield fleet
    assert world.violations == []


def room_numbers(fleet: Fleet, *names: str) -> list[int]:
    return [seen.body["bootstrap_room"] for name in names for seen in fleet.engines[name].seen]


async def remote_because(fleet: Fleet, reason: str) -> float:
    return await fleet.placements("d-0", "remote", reason)


@EITHER
async def test_a_session_stays_and_every_round_has_a_room_of_its_own(stream: bool) -> None:
    async with rooms(prefill=2, decode=2) as fleet:
        for i in range(6):
            reply = await fleet.chat(f"round {i}", stream=stream, headers=SESSION)
            assert reply.status == 200
            assert "bootstrap" not in reply.text
            assert not stream or reply.events[-1] == "[DONE]"
        kinds = sorted(engine.kinds for name, engine in fleet.engines.items() if name.startswith("d"))
        assert kinds == [[], ["decode"] * 6]
        assert fleet.engines["p-0"].kinds == ["prefill"] * 6
        assert len(set(room_numbers(fleet, "p-0"))) == 6
        assert fleet.world.lonely == 0


@EITHER
async def test_a_prefill_leg_may_end_after_its_round(stream: bool) -> None:
    async with rooms() as fleet:
        for _ in range(3):
            await fleet.chat(stream=stream, headers=SESSION)
        for _ in range(200):
            ended = await fleet.metric(fleet.sidecars["p-0"], 'requests_total{code="200",place="gate"}')
            if ended == 3:
                break
            await asyncio.sleep(0.01)
        assert ended == 3
        assert [engine.aborted for engine in fleet.engines.values()] == [0, 0]


async def test_prompts_in_a_batch_and_texts_are_split_like_chats() -> None:
    async with rooms() as fleet:
        for prompt in ("one", ["one", "two"], [1, 2, 3]):
            body = {"model": "fake", "prompt": prompt, "max_tokens": 5}
            async with fleet.client.post(f"{fleet.url}/v1/completions", json=body) as answer:
                assert answer.status == 200
        assert fleet.engines["d-0"].kinds == ["decode"] * 3


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        (PolicyName.ALWAYS_REMOTE, "PolicyAlwaysRemote"),
        (PolicyName.ALWAYS_LOCAL, "EngineAlwaysRemote"),
        (PolicyName.COST_BASED, "EngineAlwaysRemote"),
    ],
)
async def test_every_policy_goes_remote(policy: PolicyName, reason: str) -> None:
    async with rooms(policy=policy) as fleet:
        assert (await fleet.chat(headers=SESSION)).status == 200
        assert await remote_because(fleet, reason) == 1


@pytest.mark.parametrize(
    "fault",
    [Fault.ERROR_500, Fault.BUSY_503, Fault.BUSY_429, Fault.DIE, Fault.STALL, Fault.ERROR_EVENT_FIRST],
)
async def test_a_failed_prefill_is_tried_once_more_elsewhere_in_a_fresh_room(fault: Fault) -> None:
    async with rooms(prefill=2, prefill_timeout=0.4) as fleet:
        fleet.engines["p-0"].faults.append(fault)
        reply = await fleet.chat(stream=True, headers=SESSION)
        assert (reply.status, reply.events[-1]) == (200, "[DONE]")
        assert (fleet.engines["p-0"].kinds, fleet.engines["p-1"].kinds) == (["prefill"], ["prefill"])
        assert len(set(room_numbers(fleet, "p-0", "p-1"))) == 2
        assert room_numbers(fleet, "d-0")[-1:] == room_numbers(fleet, "p-1")
        assert await remote_because(fleet, "PrefillFailed") == 1
        assert await remote_because(fleet, "PolicyAlwaysRemote") == 0


async def test_a_prefill_pod_that_refuses_connections_is_passed_over() -> None:
    async with rooms(prefill=2) as fleet:
        await fleet.sidecars["p-0"].stop()
        for _ in range(2):
            assert (await fleet.chat(headers=SESSION)).status == 200
        assert fleet.engines["p-1"].kinds == ["prefill"] * 2
        assert await remote_because(fleet, "PrefillFailed") == 1


@EITHER
@pytest.mark.parametrize(
    ("fault", "status"), [(Fault.ERROR_500, 500), (Fault.BUSY_503, 503), (Fault.REJECT_400, 400)]
)
async def test_a_prefill_error_that_nobody_can_mend_reaches_the_client_in_its_words(
    fault: Fault, status: int, stream: bool
) -> None:
    async with rooms() as fleet:
        fleet.engines["p-0"].faults.append(fault)
        reply = await fleet.chat(stream=stream, headers=SESSION)
        assert (reply.status, reply.json["error"]["message"]) == (status, "scripted p-0")
        await ended(fleet)


async def test_a_request_at_fault_is_not_tried_again() -> None:
    async with rooms(prefill=2) as fleet:
        fleet.engines["p-0"].faults.append(Fault.REJECT_400)
        assert (await fleet.chat(headers=SESSION)).status == 400
        assert fleet.engines["p-1"].kinds == []


async def test_a_prefill_leg_that_hangs_fails_the_round_in_time() -> None:
    async with rooms(prefill_timeout=0.3) as fleet:
        fleet.engines["p-0"].faults.append(Fault.STALL)
        reply = await fleet.chat(stream=True, headers=SESSION)
        assert (reply.status, reply.json["error"]["type"]) == (504, "TimedOut")
        await ended(fleet)
        assert [engine.aborted for engine in fleet.engines.values()] == [1, 1]


@pytest.mark.parametrize("fault", [Fault.ERROR_500, Fault.ERROR_EVENT_FIRST])
async def test_a_decode_leg_without_its_kv_is_tried_once_more_with_another_prefill_replica(
    fault: Fault,
) -> None:
    async with rooms(prefill=2) as fleet:
        fleet.engines["d-0"].faults.append(fault)
        reply = await fleet.chat(stream=True, headers=SESSION)
        assert (reply.status, reply.events[-1]) == (200, "[DONE]")
        assert len(set(room_numbers(fleet, "d-0"))) == 2
        assert fleet.engines["p-1"].kinds == ["prefill"]
        assert await remote_because(fleet, "TransferFailed") == 1


@pytest.mark.parametrize(
    ("fault", "status"), [(Fault.REJECT_400, 400), (Fault.BUSY_429, 429), (Fault.BUSY_503, 503)]
)
async def test_a_decode_engine_that_will_not_is_not_asked_again(fault: Fault, status: int) -> None:
    async with rooms(prefill=2) as fleet:
        fleet.engines["p-0"].computing = 5.0
        fleet.engines["d-0"].faults.append(fault)
        reply = await fleet.chat(stream=True, headers=SESSION)
        assert (reply.status, reply.json["error"]["message"]) == (status, "scripted d-0")
        assert reply.headers["Content-Type"] == "application/json; charset=utf-8"
        assert fleet.engines["p-1"].kinds == []
        await ended(fleet)
        assert fleet.engines["p-0"].aborted == 1


async def test_an_error_inside_of_a_stream_that_has_sent_nothing_else_is_an_answer() -> None:
    async with rooms() as fleet:
        fleet.engines["d-0"].faults.append(Fault.ERROR_EVENT_FIRST)
        reply = await fleet.chat(stream=True, headers=SESSION)
        assert (reply.status, reply.json["error"]["message"]) == (500, "KV load failed")
        assert reply.headers["Content-Type"] == "application/json"


async def test_a_round_whose_decode_engine_is_gone_goes_to_another_one() -> None:
    async with rooms(decode=2) as fleet:
        await fleet.chat(headers=SESSION)
        first, other = sorted(("d-0", "d-1"), key=lambda name: not fleet.engines[name].seen)
        fleet.engines[first].faults.append(Fault.DIE)
        for stream in (True, False):
            assert (await fleet.chat(stream=stream, headers=SESSION)).status == 200
        assert (fleet.engines[first].kinds, fleet.engines[other].kinds) == (["decode"] * 2, ["decode"] * 2)


async def test_a_round_whose_only_decode_engine_is_gone_is_told_so() -> None:
    async with rooms() as fleet:
        fleet.engines["p-0"].computing = 5.0
        fleet.engines["d-0"].faults.append(Fault.DIE)
        reply = await fleet.chat(headers=SESSION)
        assert (reply.status, reply.json["error"]["type"]) == (502, "Unreachable")
        await ended(fleet)


async def test_a_stream_whose_engine_dies_ends_with_an_error_event() -> None:
    async with rooms(prefill=2) as fleet:
        fleet.engines["d-0"].faults.append(Fault.DIE_MID_STREAM)
        reply = await fleet.chat(stream=True, headers=SESSION)
        assert reply.status == 200
        assert reply.events[-1]["error"]["type"] == "UpstreamLost"
        assert "[DONE]" not in reply.text
        assert fleet.engines["p-1"].kinds == []


async def leave(fleet: Fleet, *, at: str, fault: Fault, stream: bool = True) -> None:
    """Ask, wait until the named engine has reached its stall, and hang up."""
    engine = fleet.engines[at]
    engine.faults.append(fault)
    async with aiohttp.ClientSession() as client:
        body = {"messages": [{"role": "user", "content": "x"}], "stream": stream, "max_tokens": 5}
        url = f"{fleet.url}/v1/chat/completions"
        asked = asyncio.ensure_future(client.post(url, json=body, headers=SESSION))
        await engine.reached.wait()
        await eventually(lambda: fleet.world.lonely == 0)
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)


@EITHER
async def test_a_client_that_leaves_during_prefill_takes_both_legs_along(stream: bool) -> None:
    async with rooms() as fleet:
        await leave(fleet, at="p-0", fault=Fault.STALL, stream=stream)
        await eventually(lambda: [e.aborted for e in fleet.engines.values()] == [1, 1])
        await all_ended_as_left(fleet)


@EITHER
async def test_a_client_that_leaves_after_prefill_takes_the_decode_leg_along(stream: bool) -> None:
    async with rooms() as fleet:
        fleet.world.patience = 0.3
        await leave(fleet, at="d-0", fault=Fault.STALL, stream=stream)
        await eventually(lambda: fleet.engines["d-0"].aborted == 1)
        await all_ended_as_left(fleet)


async def test_a_client_that_leaves_mid_stream_takes_the_decode_leg_along() -> None:
    async with rooms() as fleet:
        await leave(fleet, at="d-0", fault=Fault.STALL_MID_STREAM)
        await eventually(lambda: fleet.engines["d-0"].aborted == 1)
        await all_ended_as_left(fleet)


async def all_ended_as_left(fleet: Fleet) -> None:
    await ended(fleet)
    assert await fleet.metric(fleet.sidecars["d-0"], 'requests_total{code="499",place="sidecar"}') == 1


async def ended(fleet: Fleet) -> None:
    """No engine works for anybody any more."""
    places = {"prefill": "gate", "decode": "sidecar"}
    for name, router in fleet.sidecars.items():
        series = f'inflight_requests{{place="{places[fleet.roles[name]]}"}}'
        for _ in range(200):
            if await fleet.metric(router, series) == 0:
                break
            await asyncio.sleep(0.01)
        assert await fleet.metric(router, series) == 0, name


async def test_without_a_prefill_replica_the_client_is_told_to_come_again() -> None:
    async with rooms(decode=2) as fleet:
        await fleet.chat(headers=SESSION)
        await fleet.api.apply(fleet.pod("p-0", draining=True))
        deciders = [fleet.sidecars[name] for name in ("d-0", "d-1")]
        await eventually(lambda: not any(takes_prefills(d) for d in deciders))
        reply = await fleet.chat(headers=SESSION)
        assert (reply.status, reply.json["error"]["type"]) == (503, "NoPrefillReplica")
        assert reply.headers["Retry-After"] == "1"
        await fleet.api.apply(fleet.pod("p-0"))
        await eventually(lambda: all(takes_prefills(d) for d in deciders))
        assert (await fleet.chat(headers=SESSION)).status == 200
        kinds = sorted(fleet.engines[name].kinds for name in ("d-0", "d-1"))
        assert kinds == [[], ["decode"] * 2]  # the refusal has not moved the session


def takes_prefills(router: Any) -> bool:
    view = router.roster.view(asyncio.get_running_loop().time())
    return any(e.takes_new_work for e in view.of(Role.PREFILL))


@pytest.mark.parametrize(
    "change", [{"n": 2}, {"best_of": 3}, {"echo": True, "logprobs": True}], ids=["n", "best_of", "echo"]
)
async def test_what_cannot_be_split_is_refused(change: dict[str, Any]) -> None:
    async with rooms() as fleet:
        reply = await fleet.chat(headers=SESSION, **change)
        assert (reply.status, reply.json["error"]["type"]) == (400, "NotSplittable")
        assert "n and best_of must be 1" in reply.json["error"]["message"]
        assert [engine.seen for engine in fleet.engines.values()] == [[], []]


@EITHER
async def test_a_clients_own_rooms_reach_no_engine(stream: bool) -> None:
    async with rooms() as fleet:
        fields: dict[str, Any] = dict(zip(FIELDS, ("10.9.9.9", 1, 7), strict=True))
        headers = SESSION | dict.fromkeys(OVERRIDES, "1") | {"x-pdscale-uncached-tokens": "9"}
        reply = await fleet.chat(stream=stream, headers=headers, **fields)
        assert reply.status == 200
        assert 7 not in room_numbers(fleet, "p-0", "d-0")


async def test_a_marked_request_of_a_client_is_no_leg() -> None:
    """The front takes the mark away; a sidecar's port is not for clients."""
    async with rooms() as fleet:
        reply: Reply = await fleet.chat(headers=SESSION | {"x-pdscale-leg": "prefill"})
        assert reply.status == 200
        assert fleet.engines["d-0"].kinds == ["decode"]


async def test_the_prefill_legs_estimate_is_all_that_would_have_to_be_computed() -> None:
    """History lies on the decode replica and cannot be read from there."""
    async with rooms() as fleet:
        words = "some words " * 200
        await fleet.chat(words, headers=SESSION)
        await fleet.chat(words + words, headers=SESSION)
        told = [int(seen.headers["x-pdscale-uncached-tokens"]) for seen in fleet.engines["p-0"].seen]
        assert told[1] > told[0] > 100

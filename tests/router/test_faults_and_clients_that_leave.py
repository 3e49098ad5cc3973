"""Engines that fail, stall and die, routers that vanish, clients that leave: at each phase of a round."""

import asyncio
import time

import aiohttp
import pytest

from fakes.engine import Fault, KvWorld
from fakes.fleet import Fleet, Reply, eventually, running_fleet
from pdscale.router.fleet.peers import peer_of_pod
from pdscale.router.policies import PolicyName

SESSION = {"X-Session-ID": "s"}


@pytest.mark.parametrize(
    "fault",
    [
        Fault.ERROR_500,
        Fault.BUSY_503,
        Fault.BUSY_429,
        Fault.DIE,
        Fault.NO_PARAMS,
        Fault.REJECT_400,
        Fault.STALL,
    ],
)
@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
async def test_a_failed_prefill_falls_back_to_the_decode_engine(fault: Fault, stream: bool) -> None:
    async with running_fleet(prefill_timeout=0.3) as fleet:
        fleet.engines["p-0"].faults.append(fault)
        reply = await fleet.chat(stream=stream, headers=SESSION)
        assert reply.status == 200
        assert fleet.engines["d-0"].kinds == ["local"]
        assert await fleet.placements("d-0", "local", "PrefillFailed") == 1
        assert await fleet.placements("d-0", "remote", "PolicyAlwaysRemote") == 0
        assert fleet.world.violations == []


async def test_a_prefill_pod_that_refuses_connections_costs_no_request() -> None:
    async with running_fleet() as fleet:
        await fleet.sidecars["p-0"].stop()
        assert (await fleet.chat(headers=SESSION)).status == 200
        assert await fleet.placements("d-0", "local", "PrefillFailed") == 1


async def test_parameters_spent_on_a_failed_prefill_are_never_sent_again() -> None:
    async with running_fleet() as fleet:
        await fleet.chat(headers=SESSION)
        fleet.engines["p-0"].faults.append(Fault.ERROR_500)
        await fleet.chat(headers=SESSION)
        await fleet.chat(headers=SESSION)
        assert fleet.engines["d-0"].kinds == ["decode", "local", "decode"]
        assert fleet.world.violations == []


@pytest.mark.parametrize("fault", [Fault.ERROR_500, Fault.DIE, Fault.ERROR_EVENT_FIRST])
async def test_a_decode_leg_that_cannot_fetch_its_kv_is_computed_locally(fault: Fault) -> None:
    async with running_fleet() as fleet:
        fleet.engines["d-0"].faults.append(fault)
        reply = await fleet.chat(stream=True, headers=SESSION)
        assert reply.status == 200
        assert reply.events[-1] == "[DONE]"
        assert fleet.engines["d-0"].kinds == ["decode", "local"]
        assert await fleet.placements("d-0", "local", "TransferFailed") == 1
        assert fleet.world.violations == []


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        pytest.param(Fault.REJECT_400, 400, id="rejected"),
        pytest.param(Fault.BUSY_429, 429, id="too many"),
        pytest.param(Fault.BUSY_503, 503, id="busy"),
        pytest.param(Fault.ERROR_500, 500, id="error"),
    ],
)
async def test_the_engines_own_errors_reach_the_client_unchanged(fault: Fault, status: int) -> None:
    async with running_fleet(policy=PolicyName.ALWAYS_LOCAL) as fleet:
        fleet.engines["d-0"].faults.append(fault)
        reply = await fleet.chat(stream=True, headers=SESSION)
        assert reply.status == status
        assert reply.headers["Content-Type"] == "application/json; charset=utf-8"
        assert reply.json == {"error": {"message": "scripted d-0", "type": "Fake", "param": None}}
        assert fleet.engines["d-0"].kinds == ["local"]


async def test_an_expired_history_is_computed_again_and_never_fetched() -> None:
    async with running_fleet(world=KvWorld(ttl=1.0)) as fleet:
        await fleet.chat(headers=SESSION)
        await fleet.chat(headers=SESSION)
        legs = [s.body["kv_transfer_params"] for s in fleet.engines["p-0"].seen]
        # One second of life minus two of margin: expired on arrival.
        assert [leg["remote_block_ids"] for leg in legs] == [None, None]
        assert fleet.world.violations == []


async def test_a_stream_whose_engine_dies_ends_with_an_error_event() -> None:
    async with running_fleet() as fleet:
        fleet.engines["d-0"].faults.append(Fault.DIE_MID_STREAM)
        reply = await fleet.chat(stream=True, headers=SESSION)
        assert reply.status == 200
        assert reply.events[-1]["error"]["type"] == "UpstreamLost"
        assert "[DONE]" not in reply.text
        assert await fleet.metric(fleet.front, 'requests_total{code="502",place="front"}') == 1
        assert (
            await fleet.metric(fleet.front, 'slo_requests_total{met="false",place="front",slo="both"}') == 1
        )


async def test_a_stream_whose_sidecar_dies_ends_with_an_error_event() -> None:
    async with running_fleet() as fleet:
        fleet.engines["d-0"].faults.append(Fault.STALL_MID_STREAM)
        body = {"messages": [{"role": "user", "content": "x"}], "stream": True, "max_tokens": 5}
        async with fleet.client.post(f"{fleet.url}/v1/chat/completions", json=body) as answer:
            first = await answer.content.readany()
            await fleet.sidecars["d-0"].stop()
            reply = Reply(answer.status, {}, (first + await answer.read()).decode())
        assert reply.events[-1]["error"]["type"] == "UpstreamLost"


async def test_a_session_moves_when_its_sidecar_cannot_be_reached() -> None:
    async with running_fleet(decode=2) as fleet:
        await fleet.chat(headers=SESSION)
        await fleet.sidecars["d-0"].stop()
        assert (await fleet.chat(headers=SESSION)).status == 200
        assert fleet.engines["d-0"].kinds == ["decode"]
        assert fleet.engines["d-1"].kinds == ["decode"]
        assert fleet.world.violations == []


async def test_a_round_whose_engine_dies_before_the_first_byte_is_computed_elsewhere() -> None:
    async with running_fleet(decode=2) as fleet:
        fleet.engines["d-0"].faults += [Fault.DIE, Fault.DIE]  # with its KV, and then without
        reply = await fleet.chat(stream=True, headers=SESSION)
        assert (reply.status, reply.events[-1]) == (200, "[DONE]")
        assert fleet.engines["d-0"].kinds == ["decode", "local"]
        assert fleet.engines["d-1"].kinds == ["decode"]
        await fleet.chat(headers=SESSION)
        assert fleet.engines["d-1"].kinds == ["decode"] * 2
        assert fleet.world.violations == []


async def test_a_round_whose_only_engine_dies_is_told_so() -> None:
    async with running_fleet(policy=PolicyName.ALWAYS_LOCAL) as fleet:
        fleet.engines["d-0"].faults.append(Fault.DIE)
        reply = await fleet.chat(headers=SESSION)
        assert (reply.status, reply.json["error"]["type"]) == (502, "Unreachable")
        assert "x-pdscale-refused" not in reply.headers


@pytest.mark.parametrize("fault", [Fault.BUSY_429, Fault.BUSY_503])
async def test_a_busy_replica_is_not_suspected(fault: Fault) -> None:
    async with running_fleet() as fleet:
        fleet.engines["p-0"].faults.append(fault)
        fleet.engines["d-0"].faults.append(fault)
        await fleet.chat(headers=SESSION)
        now = asyncio.get_running_loop().time()
        for router in (fleet.front, fleet.sidecars["d-0"]):
            assert all(e.takes_new_work for e in router.roster.view(now).endpoints)


async def test_a_session_moves_when_its_replica_drains() -> None:
    async with running_fleet(decode=2) as fleet:
        await fleet.chat(headers=SESSION)
        await fleet.api.apply(fleet.pod("d-0", draining=True))
        await eventually(lambda: draining(fleet, "d-0"))
        await fleet.chat(headers=SESSION)
        assert fleet.engines["d-1"].kinds == ["decode"]


async def test_a_replica_that_drains_serves_while_there_is_no_other() -> None:
    async with running_fleet(decode=2) as fleet:
        await fleet.api.apply(fleet.pod("d-1", ready=False))
        await fleet.api.apply(fleet.pod("d-0", draining=True))
        await eventually(lambda: draining(fleet, "d-0"))
        assert (await fleet.chat()).status == 200
        await fleet.api.apply(fleet.pod("d-1"))
        await eventually(lambda: takes_work(fleet, "d-1"))
        assert (await fleet.chat()).status == 200
        assert [fleet.engines[name].kinds for name in ("d-0", "d-1")] == [["decode"], ["decode"]]


async def test_a_role_flip_is_followed_at_run_time() -> None:
    async with running_fleet(prefill=2) as fleet:
        await fleet.chat(headers=SESSION)
        fleet.roles |= {"p-1": "decode", "d-0": "prefill"}
        await fleet.api.apply(fleet.pod("p-1"))
        await fleet.api.apply(fleet.pod("d-0"))
        await eventually(lambda: role_known(fleet, "p-1", "decode"))
        await eventually(lambda: role_known(fleet, "d-0", "prefill"))
        assert (await fleet.chat(headers=SESSION)).status == 200
        assert fleet.engines["p-1"].kinds[-1] == "decode"
        refused = await fleet.chat(url=f"http://127.0.0.1:{fleet.sidecars['d-0'].port}")
        assert refused.status == 503
        assert refused.headers["x-pdscale-refused"] == "WrongRole"
        assert fleet.world.violations == []


async def test_a_replica_that_flipped_unheard_refuses_and_is_passed_over() -> None:
    async with running_fleet(decode=2) as fleet:
        flipped = peer_of_pod(fleet.pod("d-0", role="prefill"))
        assert flipped is not None
        fleet.sidecars["d-0"].roster.put(flipped, now=asyncio.get_running_loop().time())
        assert (await fleet.chat(headers=SESSION)).status == 200
        assert fleet.engines["d-1"].kinds == ["decode"]


async def test_no_decode_replica_is_a_refusal_with_a_reason() -> None:
    async with running_fleet() as fleet:
        await fleet.api.delete("d-0")
        await eventually(lambda: fleet.front.roster.peer("d-0") is None)
        reply = await fleet.chat()
        assert reply.status == 503
        assert reply.json["error"]["type"] == "NoDecodeReplica"
        assert reply.headers["Retry-After"] == "1"


async def leave(fleet: Fleet, *, at: str, fault: Fault, stream: bool = True) -> None:
    """Ask, wait until the named engine has reached its stall, and hang up."""
    fleet.engines[at].faults.append(fault)
    connector = aiohttp.TCPConnector(force_close=True)
    async with aiohttp.ClientSession(connector=connector) as client:
        body = {"messages": [{"role": "user", "content": "x"}], "stream": stream, "max_tokens": 5}
        asked = asyncio.ensure_future(
            client.post(f"{fleet.url}/v1/chat/completions", json=body, headers=SESSION)
        )
        await fleet.engines[at].reached.wait()
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
async def test_a_client_that_leaves_during_prefill_takes_the_leg_along(stream: bool) -> None:
    async with running_fleet() as fleet:
        await leave(fleet, at="p-0", fault=Fault.STALL, stream=stream)
        await eventually(lambda: fleet.engines["p-0"].aborted == 1)
        assert fleet.engines["d-0"].kinds == []
        await all_ended_as_left(fleet)


async def test_a_client_that_leaves_between_the_legs_still_frees_the_prefill_blocks() -> None:
    async with running_fleet() as fleet:
        await leave(fleet, at="d-0", fault=Fault.STALL)
        await eventually(lambda: fleet.engines["d-0"].aborted == 1)
        assert fleet.engines["d-0"].kinds == ["decode"]
        assert fleet.world.violations == []
        await all_ended_as_left(fleet)


async def test_a_client_that_leaves_mid_stream_takes_the_leg_along() -> None:
    async with running_fleet() as fleet:
        await leave(fleet, at="d-0", fault=Fault.STALL_MID_STREAM)
        await eventually(lambda: fleet.engines["d-0"].aborted == 1)
        await all_ended_as_left(fleet)


async def test_draining_is_not_ready_at_once_and_lets_streams_end() -> None:
    async with running_fleet() as fleet:
        fleet.engines["d-0"].gap = 0.1
        asked = asyncio.ensure_future(fleet.chat(stream=True))
        await eventually(lambda: fleet.engines["d-0"].kinds == ["decode"])
        drained = asyncio.ensure_future(fleet.front.drain())
        await asyncio.sleep(0)
        assert await fleet.front.not_ready_because() == "draining"
        assert not drained.done()
        assert (await asked).events[-1] == "[DONE]"
        began = time.monotonic()
        await drained
        assert time.monotonic() - began < 2


async def test_an_engine_may_go_when_nothing_is_open_beside_it() -> None:
    async with running_fleet() as fleet:
        fleet.engines["d-0"].gap = 0.1
        asked = asyncio.ensure_future(fleet.chat(stream=True))
        await eventually(lambda: fleet.engines["d-0"].kinds == ["decode"])
        admin = f"http://127.0.0.1:{fleet.sidecars['d-0'].admin_port}"
        async with fleet.client.get(f"{admin}/drained") as answer:
            assert answer.status == 200
        assert asked.done() or (await asyncio.wait_for(asked, 0.2)).status == 200
        assert await fleet.sidecars["d-0"].not_ready_because() == ""


async def test_a_drain_ends_at_its_timeout() -> None:
    async with running_fleet(drain_timeout=0.2) as fleet:
        fleet.engines["d-0"].faults.append(Fault.STALL)
        asked = asyncio.ensure_future(fleet.chat(stream=True))
        await fleet.engines["d-0"].reached.wait()
        await asyncio.wait_for(fleet.front.drain(), timeout=2)
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)


async def test_readiness_says_what_is_missing() -> None:
    async with running_fleet() as fleet:
        assert await fleet.front.not_ready_because() == ""
        assert await fleet.sidecars["d-0"].not_ready_because() == ""
        fleet.engines["d-0"].healthy = False
        assert await fleet.sidecars["d-0"].not_ready_because() == "the engine is not healthy"
        await fleet.api.apply(fleet.pod("d-0", ready=False))
        await eventually(lambda: draining(fleet, "d-0"))
        assert await fleet.front.not_ready_because() == "no decode replica is ready"


async def all_ended_as_left(fleet: Fleet) -> None:
    ended = 'requests_total{code="499",place="%s"}'
    for _ in range(200):
        front = await fleet.metric(fleet.front, ended % "front")
        sidecar = await fleet.metric(fleet.sidecars["d-0"], ended % "sidecar")
        if front == sidecar == 1:
            break
        await asyncio.sleep(0.01)
    assert (front, sidecar) == (1, 1)
    for router, place in ((fleet.front, "front"), (fleet.sidecars["d-0"], "sidecar")):
        assert await fleet.metric(router, f'inflight_requests{{place="{place}"}}') == 0


def draining(fleet: Fleet, name: str) -> bool:
    """Whether the front no longer gives work to a replica."""
    view = fleet.front.roster.view(asyncio.get_running_loop().time())
    endpoint = view.named(name)
    return endpoint is not None and not endpoint.takes_new_work


def takes_work(fleet: Fleet, name: str) -> bool:
    endpoint = fleet.front.roster.view(asyncio.get_running_loop().time()).named(name)
    return endpoint is not None and endpoint.takes_new_work


def role_known(fleet: Fleet, name: str, role: str) -> bool:
    return all(r.roster.role_of(name) == role for r in (fleet.front, *fleet.sidecars.values()))

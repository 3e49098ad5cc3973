"""How often a request is tried when replicas are lost, and what a stream's client hears of it."""

import asyncio

import pytest

from fakes.conversations import End, judge_stream
from fakes.engine import Fault
from fakes.fleet import running_fleet
from fakes.raw import STREAM_HEAD, Then, chunk, raw_peer, tell, whole
from pdscale.router.app import Router
from pdscale.router.fleet.peers import parse_static
from pdscale.router.meters import Place
from pdscale.router.policies import PolicyName
from pdscale.router.settings import Settings

EVENT = b'data: {"choices": [{"index": 0, "delta": {"content": "w"}}]}\n\n'
ERROR = b'data: {"error": {"message": "the engine was lost"}}\n\n'
DONE = b"data: [DONE]\n\n"
LAST = b"0\r\n\r\n"


async def test_a_request_finds_the_only_replica_that_is_left() -> None:
    async with running_fleet(decode=5, policy=PolicyName.ALWAYS_LOCAL) as fleet:
        for name in ("d-0", "d-1", "d-2", "d-3"):
            await fleet.sidecars[name].stop()
        assert (await fleet.chat()).status == 200
        assert fleet.engines["d-4"].kinds == ["plain"]


async def test_a_request_that_two_engines_died_of_is_not_given_to_a_third() -> None:
    async with running_fleet(decode=4, policy=PolicyName.ALWAYS_LOCAL) as fleet:
        for engine in fleet.engines.values():
            engine.faults.append(Fault.DIE)
        assert (await fleet.chat()).status == 502
        assert sum(len(engine.seen) for engine in fleet.engines.values()) == 2


async def test_replicas_that_take_no_such_work_cost_no_try() -> None:
    async with running_fleet(decode=4, policy=PolicyName.ALWAYS_LOCAL) as fleet:
        now = asyncio.get_running_loop().time()
        for name in ("d-0", "d-1", "d-2"):
            peer = fleet.sidecars[name].roster.peer(name)
            assert peer is not None
            fleet.sidecars[name].roster.remove(peer.uid, now=now)
        assert (await fleet.chat()).status == 200
        assert fleet.engines["d-3"].kinds == ["plain"]


async def test_engines_that_take_no_connection_cost_no_try() -> None:
    async with running_fleet(decode=4) as fleet:
        for name in ("d-0", "d-1", "d-2"):
            await fleet.engines[name].__aexit__()
        assert (await fleet.chat(headers={"X-Session-ID": "s"})).status == 200
        assert fleet.engines["d-3"].kinds[-1] in ("decode", "local")


async def test_nobody_left_is_a_refusal() -> None:
    async with running_fleet(decode=3) as fleet:
        for sidecar in fleet.sidecars.values():
            await sidecar.stop()
        reply = await fleet.chat()
        assert (reply.status, reply.json["error"]["type"]) == (503, "NoDecodeReplica")


@pytest.mark.parametrize(
    ("script", "end", "last"),
    [
        pytest.param([chunk(EVENT), Then.ABORT], End.CUT, b"UpstreamLost", id="told by the front"),
        pytest.param(
            [chunk(EVENT), chunk(EVENT[:9]), Then.ABORT], End.CUT, b"UpstreamLost", id="half an event"
        ),
        pytest.param([chunk(EVENT + ERROR), Then.ABORT], End.CUT, b"the engine was lost", id="told already"),
        pytest.param([chunk(EVENT + DONE), Then.ABORT], End.WHOLE, b"[DONE]", id="after its last word"),
        pytest.param([chunk(EVENT + ERROR), LAST], End.CUT, b"the engine was lost", id="told and ended"),
    ],
)
async def test_a_stream_has_one_last_word(script: list[bytes | Then], end: End, last: bytes) -> None:
    async with raw_peer([STREAM_HEAD, *script]) as peer, raw_peer([whole(b"{}")]) as admin:
        static = parse_static(f"decode=d=127.0.0.1:{peer.port}:{admin.port}")
        front = Router(Settings(Place.FRONT, port=0, admin_port=0, static=static))
        await front.start()
        try:
            body = b'{"model": "m", "messages": [], "stream": true}'
            head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
            raw = await tell(front.port, head + b"content-length: %d\r\n\r\n" % len(body) + body)
        finally:
            await front.stop()
    _, _, answer = raw.partition(b"\r\n\r\n")
    assert answer.endswith(LAST)
    events = _unchunk(answer)
    assert last in events.split(b"\n\n")[-2]
    assert judge_stream(events.decode())[0] is end


def _unchunk(body: bytes) -> bytes:
    found = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        found, body = found + body[: int(size, 16)], body[int(size, 16) + 2 :]
    return found

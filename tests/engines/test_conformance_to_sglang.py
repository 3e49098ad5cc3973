"""Our SGLang dialect against a judge of its contract, and the judge against requests that break it."""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from fakes.conformance import conforming, left_alone
from fakes.contract_sglang import Meeting, RoomWorld
from fakes.engine_sglang import FakeSGLang
from fakes.scripted import Fault
from pdscale.engines.dialects import SGLang
from pdscale.engines.metrics import parse_load
from pdscale.engines.splice import splice
from pdscale.model.cluster import Load

Json = dict[str, Any]
MARK = {"x-pdscale-leg": "prefill"}
ASKED: Json = {"model": "fake", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 5}


class Engines:
    """A prefill and a decode instance, and somebody who sends them legs."""

    def __init__(self, http: aiohttp.ClientSession, prefill: FakeSGLang, decode: FakeSGLang) -> None:
        self.http, self.prefill, self.decode = http, prefill, decode
        self.world = prefill.world
        self._rng = random.Random(1)

    def meeting(self) -> Json:
        return dict(SGLang().meeting("127.0.0.1", self._rng) or {})

    async def send(self, engine: FakeSGLang, content: Json | bytes, **headers: str) -> tuple[int, str]:
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        async with self.http.post(f"{engine.url}/v1/chat/completions", data=raw, headers=headers) as answer:
            return answer.status, await answer.text()

    async def both(self, prefill: Json | bytes, decode: Json | bytes) -> tuple[int, int, str]:
        (first, _), (second, text) = await asyncio.gather(
            self.send(self.prefill, prefill, **MARK), self.send(self.decode, decode)
        )
        return first, second, text


@pytest.fixture
async def engines() -> AsyncIterator[Engines]:
    world = RoomWorld(patience=5.0)
    async with (
        aiohttp.ClientSession() as http,
        FakeSGLang(world, "p-0") as prefill,
        FakeSGLang(world, "d-0") as decode,
    ):
        yield Engines(http, prefill, decode)


@pytest.mark.parametrize("stream", [True, False])
async def test_rounds_in_our_dialect_break_no_rule(engines: Engines, stream: bool) -> None:
    dialect = SGLang()
    body = {**ASKED, "stream": stream}
    async with conforming(engines.world):
        for _ in range(3):
            meeting = engines.meeting()
            legs = dialect.prefill_leg(body, meeting), dialect.decode_leg(body, meeting)
            first, second, text = await engines.both(*legs)
            assert (first, second) == (200, 200)
            assert text.endswith("data: [DONE]\n\n") is stream
    assert (engines.prefill.kinds, engines.decode.kinds) == (["prefill"] * 3, ["decode"] * 3)


async def test_spliced_legs_are_the_legs(engines: Engines) -> None:
    meeting = engines.meeting()
    content = splice(json.dumps(ASKED, indent=1).encode(), SGLang().decode_fields(meeting))
    async with conforming(engines.world):
        await engines.both(content, content)
    assert engines.decode.seen[0].body == SGLang().decode_leg(ASKED, meeting)


@pytest.mark.parametrize(
    ("change", "breach"),
    [
        pytest.param({"bootstrap_room": None}, "without a room", id="no room"),
        pytest.param({"bootstrap_room": "7"}, "without a room", id="a text"),
        pytest.param({"bootstrap_room": 0}, "positive 63-bit number", id="the engine's own room"),
        pytest.param({"bootstrap_room": 2**63}, "positive 63-bit number", id="too large"),
        pytest.param({"bootstrap_host": "10.9.9.9"}, "host is the prefill", id="another host"),
        pytest.param({"bootstrap_port": 1}, "port is the bootstrap", id="another port"),
        pytest.param({"kv_transfer_params": {}}, "kv_transfer_params reached", id="vLLM's"),
        pytest.param({"routed_dp_rank": 0}, "routed_dp_rank reached", id="steers"),
        pytest.param({"n": 2}, "would share a room", id="two answers"),
    ],
)
async def test_the_judge_notes_what_harms_an_engine(engines: Engines, change: Json, breach: str) -> None:
    body = {**ASKED, **engines.meeting(), **change}
    await engines.both(body, body)
    assert any(breach in violation for violation in engines.world.violations), engines.world.violations


async def test_a_room_is_for_one_round(engines: Engines) -> None:
    body = {**ASKED, **engines.meeting()}
    await engines.both(body, body)
    assert engines.world.violations == []
    await engines.both(body, body)
    assert engines.world.violations == ["a room is used once on each side, or KV is mixed up"] * 2


async def test_both_legs_are_the_same_body(engines: Engines) -> None:
    body = {**ASKED, **engines.meeting()}
    await engines.both({**body, "max_tokens": 1}, body)
    assert engines.world.violations == ["both legs are the same body"]


async def test_marks_and_overrides_are_noted(engines: Engines) -> None:
    body = {**ASKED, **engines.meeting()}
    decode = engines.send(engines.decode, body, **MARK)
    await asyncio.gather(engines.send(engines.prefill, body, **{"x-override-bootstrap-room": "1"}), decode)
    assert sorted(engines.world.violations) == [
        "a prefill leg is marked, and a decode leg is not",
        "a prefill leg is marked, and a decode leg is not",
        "client's header x-override-bootstrap-room reached an engine",
    ]


async def test_fields_that_the_client_sent_too_are_noted(engines: Engines) -> None:
    meeting = engines.meeting()
    content = splice(json.dumps({**ASKED, **meeting}).encode(), meeting)
    await engines.both(content, content)
    assert engines.world.violations == ["a field is there twice"] * 2


async def test_a_leg_whose_other_one_failed_waits_and_is_counted(engines: Engines) -> None:
    engines.world.patience = 0.2
    engines.prefill.faults.append(Fault.ERROR_500)
    body = {**ASKED, **engines.meeting()}
    first, second, _ = await engines.both(body, body)
    assert (first, second) == (500, 500)
    status, _ = await engines.send(engines.decode, {**ASKED, **engines.meeting()})
    assert (status, left_alone(engines.world)) == (500, 1)


async def test_a_decode_leg_that_is_broken_off_fails_its_prefill_leg(engines: Engines) -> None:
    body = {**ASKED, **engines.meeting()}
    engines.prefill.computing = 30.0
    legs = (engines.send(engines.prefill, body, **MARK), engines.send(engines.decode, body))
    prefill, decode = (asyncio.create_task(leg) for leg in legs)
    meeting = engines.world.rooms.setdefault(body["bootstrap_room"], Meeting())
    await asyncio.gather(*(came.wait() for came in meeting.came.values()))
    decode.cancel()
    status, _ = await asyncio.wait_for(prefill, 5)
    assert (status, engines.decode.aborted, engines.world.violations) == (500, 1, [])


async def test_the_fakes_figures_can_be_read(engines: Engines) -> None:
    async with engines.http.get(f"{engines.decode.url}/metrics") as answer:
        found = parse_load(await answer.text(), now=1.0)
    assert found == Load(running=1, waiting=2, kv_usage=0.25, seen_at=1.0)

"""Our vLLM dialect against a judge of its contract, and the judge against requests that break it."""

import copy
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from fakes.conformance import conforming, left_alone
from fakes.engine import FakeEngine, KvWorld
from pdscale.engines.dialects import VLLM, usable_for_decode, usable_for_prefill
from pdscale.engines.history import only_the_prompt
from pdscale.engines.splice import splice

Json = dict[str, Any]
MARK = {"x-pdscale-leg": "prefill"}
ASKED: Json = {
    "model": "fake",
    "messages": [{"role": "user", "content": "hello " * 80}],
    "max_tokens": 5,
    "max_completion_tokens": 5,
    "min_tokens": 2,
    "stream": True,
    "stream_options": {"include_usage": True},
}
PROMPT = len(json.dumps(ASKED["messages"])) // 4  # tokens, as the fake engine counts


class Engines:
    """A prefill and a decode engine, and somebody who sends them legs."""

    def __init__(self, http: aiohttp.ClientSession, prefill: FakeEngine, decode: FakeEngine) -> None:
        self.http, self.prefill, self.decode = http, prefill, decode
        self.world = prefill.world

    async def send(self, engine: FakeEngine, content: Json | bytes, **headers: str) -> Json:
        """What the engine hands out, streamed or not."""
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        url = f"{engine.url}/v1/chat/completions"
        async with self.http.post(url, data=raw, headers=headers) as answer:
            text = await answer.text()
        parts = [p.removeprefix("data: ") for p in text.split("\n\n") if p and p != "data: [DONE]"]
        found = [json.loads(p).get("kv_transfer_params") for p in parts]
        return next((params for params in found if params), {})

    async def prefilled(self, history: Json | None = None) -> Json:
        return await self.send(self.prefill, VLLM().prefill_leg(ASKED, history), **MARK)


@pytest.fixture
async def engines() -> AsyncIterator[Engines]:
    world = KvWorld()
    async with (
        aiohttp.ClientSession() as http,
        FakeEngine(world, "p-0") as prefill,
        FakeEngine(world, "d-0") as decode,
    ):
        yield Engines(http, prefill, decode)


async def test_a_session_in_our_dialect_breaks_no_rule(engines: Engines) -> None:
    dialect = VLLM()
    async with conforming(engines.world):
        history = None
        for place in ("remote", "remote", "local", "remote", "plain", "remote"):
            if place == "remote":
                params = await engines.prefilled(history)
                assert usable_for_decode(params)
                leg = dialect.decode_leg(ASKED, params)
            else:
                leg = dialect.local_round(ASKED) if place == "local" else ASKED
            handed = await engines.send(engines.decode, leg)
            history = (
                only_the_prompt(handed, len(json.dumps(ASKED["messages"])) // 4)
                if usable_for_prefill(handed)
                else None
            )
            assert (history is None) is (place == "plain")
    assert engines.decode.kinds == ["decode", "decode", "local", "decode", "plain", "decode"]


async def test_spliced_legs_are_the_legs(engines: Engines) -> None:
    dialect, content = VLLM(), json.dumps(ASKED, indent=1).encode()
    async with conforming(engines.world):
        params = await engines.prefilled()
        await engines.send(engines.decode, splice(content, dialect.decode_fields(params)))
        await engines.send(engines.decode, splice(content, dialect.local_fields()))
    assert [seen.body for seen in engines.decode.seen] == [
        dialect.decode_leg(ASKED, params),
        dialect.local_round(ASKED),
    ]


def with_params(body: Json, **changes: object) -> Json:
    body = copy.deepcopy(body)
    body["kv_transfer_params"] |= changes
    return body


PREFILL = VLLM().prefill_leg(ASKED, None)


@pytest.mark.parametrize(
    ("body", "breach"),
    [
        pytest.param({**PREFILL, "stream": True}, "must not stream", id="streams"),
        pytest.param({**PREFILL, "max_tokens": 5}, "asks for one token", id="computes an answer"),
        pytest.param({**PREFILL, "max_completion_tokens": 5}, "by either name", id="by the other name"),
        pytest.param({**PREFILL, "min_tokens": 2}, "has no min_tokens", id="cannot end"),
        pytest.param({**PREFILL, "stream_options": {}}, "has no stream_options", id="options of a stream"),
        pytest.param(
            {**PREFILL, "kv_transfer_params": {"do_remote_decode": True, "remote_host": None}},
            "blank parameters are the six",
            id="fields are missing",
        ),
        pytest.param(with_params(PREFILL, do_remote_decode=False), "flags false pins", id="pins blocks"),
        pytest.param(
            with_params(PREFILL, do_remote_decode=False, do_remote_prefill=True),
            "without block ids kills",
            id="kills",
        ),
        pytest.param({**ASKED, "kv_transfer_params": "x"}, "parameters are an object", id="a text kills"),
        pytest.param(
            {**ASKED, "vllm_xargs": {"kv_transfer_params": "x"}}, "vllm_xargs.kv_transfer", id="smuggled"
        ),
        pytest.param({**ASKED, "bootstrap_room": 1}, "bootstrap_room reached", id="another engine's"),
        pytest.param({**ASKED, "data_parallel_rank": 1}, "data_parallel_rank reached", id="steers"),
        pytest.param(
            with_params(PREFILL, remote_block_ids=[[1]], remote_request_id="req-99"),
            "no engine handed out",
            id="made up",
        ),
    ],
)
async def test_the_judge_notes_what_harms_an_engine(engines: Engines, body: Json, breach: str) -> None:
    await engines.send(engines.prefill, body, **MARK)
    assert any(breach in violation for violation in engines.world.violations), engines.world.violations


async def test_a_prefill_leg_without_its_mark_and_a_steering_header_are_noted(engines: Engines) -> None:
    await engines.send(engines.prefill, PREFILL, **{"x-prefiller-host-port": "h:1"})
    assert engines.world.violations == [
        "client's header x-prefiller-host-port reached an engine",
        "a prefill leg is marked",
    ]


async def test_two_fields_of_one_name_are_noted(engines: Engines) -> None:
    await engines.send(engines.decode, b'{"max_tokens": 1, "max_tokens": 5}')
    assert engines.world.violations == ["a field is there twice"]


async def breaches_of_decode(engines: Engines, params: Json, **changes: object) -> list[str]:
    await engines.send(engines.decode, {**VLLM().decode_leg(ASKED, params), **changes})
    return engines.world.violations


async def test_parameters_are_for_one_use(engines: Engines) -> None:
    params = await engines.prefilled()
    assert await breaches_of_decode(engines, params) == []
    assert await breaches_of_decode(engines, params) == ["params used twice"]


async def test_parameters_are_opaque(engines: Engines) -> None:
    params = await engines.prefilled()
    assert await breaches_of_decode(engines, {**params, "tp_size": 2}) == ["params were altered"]


async def test_parameters_have_a_deadline(engines: Engines) -> None:
    engines.world.lease = 0.0
    params = await engines.prefilled()
    assert await breaches_of_decode(engines, params) == ["params used after their deadline"]


async def test_the_decode_leg_is_of_the_same_prompt(engines: Engines) -> None:
    params = await engines.prefilled()
    other = [{"role": "user", "content": "something else"}]
    found = await breaches_of_decode(engines, params, messages=other)
    assert found == ["a decode leg asks what its prefill leg asked"]


async def test_parameters_need_an_address(engines: Engines) -> None:
    params = {k: v for k, v in (await engines.prefilled()).items() if k != "remote_host"}
    assert "do_remote_prefill without an address waits for ever" in await breaches_of_decode(engines, params)


async def test_a_decode_leg_needs_a_prefills_parameters_not_a_decodes(engines: Engines) -> None:
    handed = await engines.send(engines.decode, VLLM().decode_leg(ASKED, await engines.prefilled()))
    found = await breaches_of_decode(
        engines, {**handed, "do_remote_prefill": True, "do_remote_decode": False}
    )
    assert "a decode leg needs a prefill's blocks" in found
    assert "an engine's own params came back to it" in found


async def test_a_decode_leg_that_never_comes_is_counted(engines: Engines) -> None:
    params = await engines.prefilled()
    assert left_alone(engines.world) == 1
    await engines.send(engines.decode, VLLM().decode_leg(ASKED, params))
    assert left_alone(engines.world) == 0
    with pytest.raises(AssertionError):
        async with conforming(engines.world):
            await engines.prefilled()

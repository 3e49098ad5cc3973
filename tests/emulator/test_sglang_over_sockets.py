"""Rounds, errors, paths and the switch of roles of emulated SGLang servers."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from fakes.emulated import FAST, Answer, Client
from fakes.emulated_rooms import settings
from pdscale.emulator.modes import Mode, Patience
from pdscale.emulator.server import EngineServer
from pdscale.emulator.sglang.face import SglangFace
from pdscale.engines.metrics import parse_load
from pdscale.model.cluster import Load
from pdscale.perf.profile import Segment

PROMPT = [{"role": "user", "content": " ".join(f"word{i}" for i in range(60))}]
SLOW_STEPS = replace(FAST, decode=(Segment(float("inf"), 0.02, 0.0, 0.0),))


@pytest.fixture
async def prefill(start: Any) -> EngineServer:
    return await start(settings(Mode.PREFILL))  # type: ignore[no-any-return]


@pytest.fixture
async def decode(start: Any) -> EngineServer:
    return await start(settings(Mode.DECODE))  # type: ignore[no-any-return]


def room(prefill: EngineServer, number: int) -> dict[str, Any]:
    assert isinstance(prefill.face, SglangFace)
    return {
        "bootstrap_host": "127.0.0.1",
        "bootstrap_port": prefill.face.bootstrap_port,
        "bootstrap_room": number,
    }


async def both(
    client: Client, prefill: EngineServer, decode: EngineServer, number: int, **body: Any
) -> tuple[Answer, Answer]:
    """The two legs as a router sends them: the same body to both."""
    body |= room(prefill, number)
    first, second = await asyncio.gather(*(client.chat(s.port, **body) for s in (prefill, decode)))
    return first, second


def is_empty(*servers: EngineServer) -> bool:
    return all(s.engine.idle and s.engine.cache.usage == 0 for s in servers)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_a_session_says_what_one_engine_alone_says(
    stream: bool, prefill: EngineServer, decode: EngineServer, start: Any, client: Client
) -> None:
    alone = await start(settings(None))
    messages: list[dict[str, str]] = []
    for turn in range(3):
        words = " ".join(f"turn{turn}word{i}" for i in range(50 if turn == 0 else 9))
        messages.append({"role": "user", "content": words})
        first, second = await both(
            client, prefill, decode, turn + 1, messages=messages, max_tokens=11, stream=stream
        )
        wanted = await client.chat(alone.port, messages=messages, max_tokens=11)
        assert (first.status, second.status) == (200, 200)
        assert (second.tokens, second.content) == (wanted.tokens, wanted.content)
        assert first.tokens == wanted.tokens[:1]
        assert "kv_transfer_params" not in second.text
        assert second.cached == first.cached
        messages.append({"role": "assistant", "content": second.content})
    _, text = await client.get(decode.port, "/metrics")
    (sample,) = (line for line in text.splitlines() if line.startswith("sglang:generation_tokens_total{"))
    assert sample.endswith(" 33.0")
    assert 'engine_type="dynamic"' in sample
    assert is_empty(prefill, decode)


async def test_a_leg_without_a_room_is_refused(
    prefill: EngineServer, decode: EngineServer, client: Client
) -> None:
    for server in (prefill, decode):
        answer = await client.chat(server.port, messages=PROMPT)
        assert answer.status == 400
        assert set(answer.body) == {"object", "message", "type", "param", "code"}
        assert "bootstrap_room must be given" in answer.body["message"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bootstrap_room": "x"}, "bootstrap_room must be a whole number"),
        ({"bootstrap_room": 2**63}, f"in 0..{2**63 - 1}"),
        ({"bootstrap_port": 70000}, "bootstrap_port must be a whole number in 0..65535"),
        ({"bootstrap_host": None}, "bootstrap_host must be given"),
        ({"n": 2}, "n must be 1"),
    ],
)
async def test_bad_rooms_are_refused(
    change: dict[str, Any], message: str, decode: EngineServer, client: Client
) -> None:
    fields = {"bootstrap_host": "h", "bootstrap_port": 1, "bootstrap_room": 1, **change}
    answer = await client.chat(decode.port, messages=PROMPT, **fields)
    assert (answer.status, message in answer.body["message"]) == (400, True)


async def test_a_room_in_use_is_not_for_others(
    prefill: EngineServer, client: Client, eventually: Callable[..., Any]
) -> None:
    waiting = asyncio.create_task(client.chat(prefill.port, messages=PROMPT, **room(prefill, 5)))
    await eventually(lambda: prefill.engine.waiting == 1)
    again = await client.chat(prefill.port, messages=PROMPT, **room(prefill, 5))
    assert (again.status, "got 5 again" in again.body["message"]) == (400, True)
    waiting.cancel()
    await eventually(lambda: is_empty(prefill))


@pytest.mark.parametrize("on", [True, False])
async def test_rooms_may_come_in_headers_where_that_is_switched_on(
    on: bool, start: Any, prefill: EngineServer, client: Client
) -> None:
    decode = await start(settings(Mode.DECODE, header_overrides=on))
    fields = room(prefill, 9)
    headers = {f"x-override-{name.replace('_', '-')}": str(value) for name, value in fields.items()}
    body = {"model": "tiny", "messages": PROMPT, "max_tokens": 3}
    url = f"http://127.0.0.1:{decode.port}/v1"
    async with client.http.post(
        f"{url}/completions", json={"model": "tiny", "prompt": "x"}, headers=headers
    ) as it:
        assert it.status == 400  # completions never read them
    leg = asyncio.create_task(client.chat(prefill.port, messages=PROMPT, **fields))
    async with client.http.post(f"{url}/chat/completions", json=body, headers=headers) as answer:
        assert answer.status == (200 if on else 400)
    leg.cancel()


async def test_a_client_that_leaves_a_decode_leg_ends_its_prefill_leg(
    start: Any, decode: EngineServer, client: Client, eventually: Callable[..., Any]
) -> None:
    slow = replace(FAST, prefill=(Segment(float("inf"), 1.0, 0.0, 0.0),))
    prefill = await start(settings(Mode.PREFILL, profile=slow))
    fields = room(prefill, 3)
    first, second = (
        asyncio.create_task(client.chat(s.port, messages=PROMPT, **fields)) for s in (prefill, decode)
    )
    await eventually(lambda: prefill.engine.running == 1)
    second.cancel()
    answer = await first
    assert answer.status == 500
    await eventually(lambda: is_empty(prefill, decode))


async def test_a_decode_leg_whose_prefill_leg_left_waits_until_its_patience_ends(
    start: Any, prefill: EngineServer, client: Client, eventually: Callable[..., Any]
) -> None:
    decode = await start(settings(Mode.DECODE, patience=Patience(waiting=0.5)))
    leg = asyncio.create_task(client.chat(decode.port, messages=PROMPT, **room(prefill, 3)))
    await eventually(lambda: decode.engine.loading == 1)
    answer = await leg
    assert answer.status == 500
    assert is_empty(prefill, decode)


async def test_a_prefill_engine_that_dies_fails_its_decode_legs_at_once(
    start: Any, decode: EngineServer, client: Client, eventually: Callable[..., Any]
) -> None:
    prefill = await start(settings(Mode.PREFILL))
    leg = asyncio.create_task(client.chat(decode.port, messages=PROMPT, stream=True, **room(prefill, 3)))
    await eventually(lambda: decode.engine.loading == 1)
    fields = room(prefill, 4)
    await prefill.stop()
    assert (await leg).status == 500
    assert (await client.chat(decode.port, messages=PROMPT, **fields)).status == 500
    assert is_empty(decode)


async def test_the_native_path(start: Any, client: Client) -> None:
    alone = await start(settings(None))
    url = f"http://127.0.0.1:{alone.port}/generate"
    asked = {"text": "hello there", "sampling_params": {"max_new_tokens": 3, "ignore_eos": True}, "rid": "r"}
    async with client.http.post(url, json=asked) as answer:
        whole = await answer.json()
    assert (whole["meta_info"]["id"], whole["meta_info"]["completion_tokens"]) == ("r", 3)
    assert whole["meta_info"]["finish_reason"] == {"type": "length", "length": 3}
    async with client.http.post(url, json={**asked, "stream": True}) as answer:
        lines = (await answer.text()).split("\n\n")
    events = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
    assert [len(e["output_ids"]) for e in events] == [1, 2, 3]
    assert events[-1]["text"] == whole["text"]
    assert "data: [DONE]" in lines


async def test_a_text_that_ended_an_answer_is_named_as_sglang_names_it(start: Any, client: Client) -> None:
    alone = await start(settings(None))
    word = (await client.chat(alone.port, messages=PROMPT, max_tokens=5)).content.split()[2]
    answer = await client.chat(alone.port, messages=PROMPT, max_tokens=5, stop=word)
    assert (answer.choices[0]["finish_reason"], answer.choices[0]["matched_stop"]) == ("stop", word)


async def test_what_an_instance_says_of_itself(prefill: EngineServer, client: Client) -> None:
    for path in ("/server_info", "/get_server_info"):
        found = json.loads((await client.get(prefill.port, path))[1])
        assert (found["version"], found["disaggregation_mode"]) == ("0.5.23", "prefill")
    assert json.loads((await client.get(prefill.port, "/model_info"))[1])["model_path"] == "tiny"
    for path in ("/health", "/health_generate", "/ready"):
        assert (await client.get(prefill.port, path))[0] == 200


async def test_the_router_can_read_its_load(
    prefill: EngineServer, client: Client, eventually: Callable[..., Any]
) -> None:
    leg = asyncio.create_task(client.chat(prefill.port, messages=PROMPT, **room(prefill, 3)))
    await eventually(lambda: prefill.engine.waiting == 1)
    found = parse_load((await client.get(prefill.port, "/metrics"))[1], now=1.0)
    assert found == Load(running=0, waiting=1, kv_usage=0.0, seen_at=1.0)
    leg.cancel()


async def switch(client: Client, server: EngineServer, role: str) -> tuple[int, dict[str, Any]]:
    url = f"http://127.0.0.1:{server.port}/pd_role_switch"
    async with client.http.post(url, json={"new_role": role}) as answer:
        return answer.status, await answer.json()


async def test_two_idle_instances_change_places(
    prefill: EngineServer, decode: EngineServer, client: Client
) -> None:
    before = await both(client, prefill, decode, 1, messages=PROMPT, max_tokens=5)
    status, told = await switch(client, prefill, "decode")
    assert (status, told["success"], told["safe_to_restore"]) == (200, True, False)
    assert (told["old_role"], told["new_role"]) == ("prefill", "decode")
    assert (await switch(client, decode, "prefill"))[0] == 200
    after = await both(client, decode, prefill, 2, messages=PROMPT, max_tokens=5)
    assert after[1].content == before[1].content
    assert (await switch(client, decode, "prefill"))[0] == 200  # as it is already


async def test_a_busy_instance_keeps_its_role(
    prefill: EngineServer, client: Client, eventually: Callable[..., Any]
) -> None:
    leg = asyncio.create_task(client.chat(prefill.port, messages=PROMPT, **room(prefill, 3)))
    await eventually(lambda: prefill.engine.waiting == 1)
    status, told = await switch(client, prefill, "decode")
    assert (status, told["success"], told["safe_to_restore"]) == (400, False, True)
    assert "must be idle" in told["message"]
    leg.cancel()
    await eventually(lambda: prefill.engine.idle)
    assert (await switch(client, prefill, "decode"))[0] == 200


@pytest.mark.parametrize(
    ("mode", "allowed", "role", "message"),
    [
        (Mode.PREFILL, False, "decode", "--enable-pd-role-switch"),
        (Mode.PREFILL, True, "boss", "must be prefill or decode, got boss"),
        (None, True, "decode", "must have a disaggregation mode"),
    ],
)
async def test_a_switch_that_cannot_be_says_why(
    start: Any, client: Client, mode: Mode | None, allowed: bool, role: str, message: str
) -> None:
    server = await start(settings(mode, may_switch=allowed))
    status, told = await switch(client, server, role)
    assert (status, message in told["message"]) == (400, True)

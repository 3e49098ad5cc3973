"""Shapes of requests, answers, streams and refusals, over a real socket."""

import json
from dataclasses import replace
from typing import Any

import pytest

from fakes.emulated import LIMITS, Client
from pdscale.emulator.openai import Kind, Served, read_request

HELLO = [{"role": "user", "content": "hello there my friend"}]


@pytest.fixture
async def port(start: Any) -> int:
    return int((await start()).port)


async def test_an_answer_in_one_piece(port: int, client: Client) -> None:
    answer = await client.chat(port, messages=HELLO, max_tokens=5)
    body = answer.body
    assert answer.status == 200
    assert (body["object"], body["model"]) == ("chat.completion", "tiny")
    assert body["choices"][0]["finish_reason"] == "length"
    assert body["choices"][0]["message"]["role"] == "assistant"
    assert len(answer.content.split()) == len(answer.tokens) == 5
    assert body["usage"] == {
        "prompt_tokens": 7,
        "total_tokens": 12,
        "completion_tokens": 5,
        "prompt_tokens_details": {
            "cached_tokens": 0,
            "created_cache_tokens": 0,
            "multimodal_tokens": None,
        },
        "completion_tokens_details": None,
    }
    assert body["kv_transfer_params"] is None


async def test_a_stream_brings_the_same_answer_event_by_event(port: int, client: Client) -> None:
    whole = await client.chat(port, messages=HELLO, max_tokens=5)
    async with client.open(
        port, messages=HELLO, max_tokens=5, stream=True, stream_options={"include_usage": True}
    ) as response:
        assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert response.headers["Transfer-Encoding"] == "chunked"
        lines = [line for line in (await response.text()).split("\n\n") if line]
    assert all(line.startswith("data: ") for line in lines)
    assert lines[-1] == "data: [DONE]"
    events = [json.loads(line[6:]) for line in lines[:-1]]
    assert {e["object"] for e in events} == {"chat.completion.chunk"}
    assert len({e["id"] for e in events}) == 1
    deltas = [e["choices"][0]["delta"] for e in events[:-1]]
    assert deltas[0] == {"role": "assistant", "content": ""}
    assert "".join(d["content"] for d in deltas) == whole.content
    reasons = [e["choices"][0]["finish_reason"] for e in events[:-1]]
    assert reasons == [None] * 5 + ["length"]
    assert events[-1]["choices"] == []
    assert events[-1]["usage"]["completion_tokens"] == 5


async def test_a_stream_without_usage_ends_with_the_reason(port: int, client: Client) -> None:
    answer = await client.chat(port, messages=HELLO, max_tokens=2, stream=True, stream_options={})
    assert answer.text.endswith("data: [DONE]\n\n")
    assert all("usage" not in event for event in answer.events)


async def test_completions_take_text_or_token_ids(port: int, client: Client) -> None:
    texts = []
    for prompt in ("hello there", ["hello there"]):
        body = {"model": "tiny", "prompt": prompt, "max_tokens": 3, "ignore_eos": True}
        url = f"http://127.0.0.1:{port}/v1/completions"
        async with client.http.post(url, json={**body, "return_token_ids": True}) as response:
            answer = await response.json()
        async with client.http.post(
            url, json={**body, "prompt": answer["choices"][0]["prompt_token_ids"], "stream": True}
        ) as response:
            events = [
                json.loads(line[6:])
                for line in (await response.text()).splitlines()
                if line.startswith("data: {")
            ]
        assert answer["object"] == events[0]["object"] == "text_completion"
        assert "".join(e["choices"][0]["text"] for e in events) == answer["choices"][0]["text"]
        texts.append(answer["choices"][0]["text"])
    assert texts[0] == texts[1]


async def test_the_newer_name_of_the_token_limit_wins(port: int, client: Client) -> None:
    answer = await client.chat(port, messages=HELLO, max_tokens=9, max_completion_tokens=2)
    assert answer.usage["completion_tokens"] == 2


async def test_parts_of_a_message_are_its_text(port: int, client: Client) -> None:
    parts = [{"type": "text", "text": "hello there"}, {"type": "text", "text": "my friend"}]
    one = await client.chat(port, messages=HELLO, max_tokens=3)
    other = await client.chat(port, messages=[{"role": "user", "content": parts}], max_tokens=3)
    assert one.content == other.content


async def test_an_answer_may_end_by_itself(start: Any, client: Client) -> None:
    server = await start(limits=replace(LIMITS, answer_length=2))
    answer = await client.chat(server.port, messages=HELLO, ignore_eos=False)
    assert answer.choices[0]["finish_reason"] == "stop"
    assert answer.usage["completion_tokens"] == len(answer.content.split()) + 1  # a silent end


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_an_answer_ends_at_the_clients_text_which_is_not_shown(
    stream: bool, port: int, client: Client
) -> None:
    words = (await client.chat(port, messages=HELLO, max_tokens=9)).content.split()
    for stop in (words[3], [words[3], "nothing of the kind"], [f"{words[2]} {words[3]}"]):
        answer = await client.chat(port, messages=HELLO, max_tokens=9, stop=stop, stream=stream)
        last = answer.choices[-1]
        text = stop if isinstance(stop, str) else stop[0]
        assert (last["finish_reason"], last["stop_reason"]) == ("stop", text)
        assert answer.usage["completion_tokens"] == 4
        shown = words[:3] if stream else words[: 4 - len(text.split())]
        assert answer.content.split() == shown
    answer = await client.chat(port, messages=HELLO, max_tokens=9, stop=words[3], min_tokens=5)
    assert answer.usage["completion_tokens"] == 9


async def test_the_details_of_usage_are_there_only_if_asked_for(start: Any, client: Client) -> None:
    server = await start(served=Served(("tiny",), LIMITS.max_model_len))
    answer = await client.chat(server.port, messages=HELLO, max_tokens=1)
    assert answer.usage["prompt_tokens_details"] is None


async def test_the_request_id_of_the_header_becomes_the_answers(port: int, client: Client) -> None:
    url = f"http://127.0.0.1:{port}/v1/chat/completions"
    body = {"messages": HELLO, "max_tokens": 1}
    for _ in range(2):  # the same id twice is no conflict: each engine adds its own suffix
        async with client.http.post(url, json=body, headers={"X-Request-Id": "abc"}) as response:
            assert (await response.json())["id"] == "chatcmpl-abc"


@pytest.mark.parametrize(
    ("body", "status", "kind", "message"),
    [
        pytest.param({"model": "huge"}, 404, "NotFoundError", "`huge` does not exist", id="model"),
        pytest.param({"messages": []}, 400, "BadRequestError", "at least 1 message", id="empty"),
        pytest.param({"messages": ["hi"]}, 400, "Bad Request", "with a role", id="message"),
        pytest.param({"max_tokens": 0}, 400, "BadRequestError", "at least 1, got 0", id="none"),
        pytest.param({"max_tokens": 506}, 400, "BadRequestError", "512 tokens", id="too many"),
        pytest.param({"min_tokens": 9, "max_tokens": 2}, 400, "BadRequestError", "at most", id="min_tokens"),
        pytest.param({"temperature": -1}, 400, "BadRequestError", "at least 0, got -1", id="temperature"),
        pytest.param({"stream_options": {"a": 1}}, 400, "BadRequestError", "unless stream", id="options"),
        pytest.param({"n": 2}, 400, "BadRequestError", "n must be 1, got 2", id="n"),
        pytest.param({"stop": [""]}, 400, "Bad Request", "stop must be text or a list", id="stop"),
        pytest.param({"priority": "x"}, 400, "Bad Request", "got 'x'", id="priority"),
        pytest.param(
            {"messages": [{"role": "user", "content": "a " * 600}]},
            400, "BadRequestError", "prompt contains 603 input", id="long prompt",
        ),
        pytest.param(
            {"kv_transfer_params": 7}, 400, "Bad Request", "an object, got int", id="params"
        ),
    ],
)  # fmt: skip
async def test_refusals_say_what_is_wrong(
    port: int, client: Client, body: dict[str, Any], status: int, kind: str, message: str
) -> None:
    answer = await client.chat(port, **{"messages": HELLO, **body})
    error = answer.body["error"]
    assert (answer.status, error["type"], error["code"]) == (status, kind, status)
    assert message in error["message"]
    assert set(error) == {"message", "type", "param", "code"}


@pytest.mark.parametrize(("raw", "kind"), [(b"{", "Bad Request"), (b"[]", "Bad Request")])
async def test_what_is_no_json_object_is_refused(port: int, client: Client, raw: bytes, kind: str) -> None:
    url = f"http://127.0.0.1:{port}/v1/chat/completions"
    async with client.http.post(url, data=raw) as response:
        assert response.status == 400
        assert (await response.json())["error"]["type"] == kind


async def test_the_other_paths(port: int, client: Client) -> None:
    assert await client.get(port, "/health") == (200, "")
    assert json.loads((await client.get(port, "/version"))[1]) == {"version": "0.33.0"}
    assert json.loads((await client.get(port, "/load"))[1]) == {"server_load": 0}
    url = f"http://127.0.0.1:{port}/tokenize"
    for body, count in (({"prompt": "hello there"}, 2), ({"messages": HELLO}, 7)):
        async with client.http.post(url, json=body) as answer:
            assert (await answer.json())["count"] == count
    async with client.http.post(url, json={}) as answer:
        assert answer.status == 400
    models = json.loads((await client.get(port, "/v1/models"))[1])["data"]
    assert [(m["id"], m["max_model_len"]) for m in models] == [("tiny", 512)]


@pytest.mark.parametrize(
    ("body", "headers", "priority"),
    [
        ({}, {}, 0),
        ({}, {"X-Vllm-Priority": "7"}, 7),
        ({"priority": -3}, {"X-Vllm-Priority": "7"}, -3),
    ],
)
def test_the_priority_is_the_bodys_or_else_the_headers(
    body: dict[str, Any], headers: dict[str, str], priority: int
) -> None:
    asked = read_request(
        {"prompt": "hello", **body},
        kind=Kind.COMPLETION,
        name="r",
        served=Served(("tiny",), 512),
        headers=headers,
    )
    assert asked.request.priority == priority

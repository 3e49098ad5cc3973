"""Sessions whose rounds are placed locally and remotely, over HTTP and a real side channel."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from fakes.emulated import BIDIRECTIONAL, LOCAL, Answer, Client, prefill_leg
from pdscale.emulator.server import EngineServer
from pdscale.emulator.transfer import OnFailure

PROMPT = [{"role": "user", "content": " ".join(f"word{i}" for i in range(60))}]


@pytest.fixture
async def prefill(start: Any) -> EngineServer:
    return await start()  # type: ignore[no-any-return]


@pytest.fixture
async def decode(start: Any) -> EngineServer:
    return await start()  # type: ignore[no-any-return]


async def prefill_for(client: Client, server: EngineServer, **body: Any) -> Answer:
    """The prefill leg as a router sends it."""
    history = body.pop("history", None)
    answer = await client.chat(server.port, **body, max_tokens=1, kv_transfer_params=prefill_leg(history))
    assert answer.status == 200
    return answer


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    "places", ["remote remote remote", "local remote local remote", "plain remote plain local remote"]
)
async def test_a_session_says_what_one_engine_alone_says(
    places: str, stream: bool, prefill: EngineServer, decode: EngineServer, start: Any, client: Client
) -> None:
    alone = await start(transfer=None)
    messages: list[dict[str, str]] = []
    history = None
    for turn, place in enumerate(places.split()):
        text = " ".join(f"turn{turn}word{i}" for i in range(50 if turn == 0 else 9))
        messages.append({"role": "user", "content": text})
        params = {"local": LOCAL, "plain": None}.get(place)
        if place == "remote":
            params = (await prefill_for(client, prefill, messages=messages, history=history)).handed
            assert params is not None
        answer = await client.chat(
            decode.port, messages=messages, max_tokens=11, stream=stream, kv_transfer_params=params
        )
        wanted = await client.chat(alone.port, messages=messages, max_tokens=11)
        assert (answer.tokens, answer.content) == (wanted.tokens, wanted.content)
        assert (answer.handed is None) == (place == "plain")
        history = answer.handed
        messages.append({"role": "assistant", "content": answer.content})


async def test_the_dict_comes_with_the_reason_and_before_the_usage(
    prefill: EngineServer, decode: EngineServer, client: Client
) -> None:
    leg = await prefill_for(client, prefill, messages=PROMPT)
    answer = await client.chat(
        decode.port, messages=PROMPT, max_tokens=3, stream=True, kv_transfer_params=leg.handed
    )
    assert [bool(e.get("kv_transfer_params")) for e in answer.events] == [False] * 3 + [True, False]
    assert answer.events[-2]["choices"][0]["finish_reason"] == "length"
    assert answer.events[-1]["choices"] == []


async def test_a_new_prefill_engine_reads_the_history_from_the_decode_engine(
    prefill: EngineServer, decode: EngineServer, start: Any, client: Client
) -> None:
    first = await client.chat(decode.port, messages=PROMPT, max_tokens=8, kv_transfer_params=LOCAL)
    messages = [
        *PROMPT,
        {"role": "assistant", "content": first.content},
        {"role": "user", "content": "and now for more"},
    ]
    newcomer = await start()
    leg = await prefill_for(client, newcomer, messages=messages, history=first.handed)
    # 63 prompt tokens and 7 of 8 answer tokens have KV on the decode engine.
    assert leg.cached == 70
    assert leg.handed is not None
    assert leg.handed["remote_prefill_cached_tokens"] == 70
    sources = "vllm:prompt_tokens_by_source_total{,source="
    figures = await client.figures(newcomer.port)
    assert figures["vllm:prompt_tokens_total"] == leg.usage["prompt_tokens"] == 79
    assert figures[sources + '"external_kv_transfer"}'] == 70
    assert figures[sources + '"local_compute"}'] == 9
    second = await client.chat(decode.port, messages=messages, max_tokens=2, kv_transfer_params=leg.handed)
    assert second.cached == 70  # as the prefill leg said, not as this engine saw it
    figures = await client.figures(decode.port)
    assert figures[sources + '"local_cache_hit"}'] == 68  # 17 full blocks of 4
    assert figures[sources + '"external_kv_transfer"}'] == 11
    assert figures["vllm:nixl_bytes_transferred_sum"] == 11_000


async def test_a_finished_transfer_frees_the_prefill_engine(
    prefill: EngineServer, decode: EngineServer, client: Client, eventually: Callable[..., Any]
) -> None:
    leg = await prefill_for(client, prefill, messages=PROMPT)
    assert prefill.engine.cache.usage > 0
    await client.chat(decode.port, messages=PROMPT, max_tokens=2, kv_transfer_params=leg.handed)
    await eventually(lambda: prefill.engine.cache.usage == 0)
    assert (await client.figures(prefill.port))["vllm:nixl_num_kv_expired_reqs_total"] == 0


async def test_an_abandoned_prefill_leg_is_freed_when_its_lease_ends(
    start: Any, client: Client, eventually: Callable[..., Any]
) -> None:
    prefill = await start(transfer=replace(BIDIRECTIONAL, lease=0.2))
    await prefill_for(client, prefill, messages=PROMPT)
    assert prefill.engine.cache.usage > 0
    await eventually(lambda: prefill.engine.cache.usage == 0)
    assert (await client.figures(prefill.port))["vllm:nixl_num_kv_expired_reqs_total"] == 1


async def test_a_dead_prefill_engine_costs_its_decode_leg_and_nothing_else(
    prefill: EngineServer, decode: EngineServer, start: Any, client: Client
) -> None:
    for _ in range(2):  # the second leg never gets its decode: the engines have met before
        leg = await prefill_for(client, prefill, messages=PROMPT)
        await client.chat(decode.port, messages=PROMPT, max_tokens=1, kv_transfer_params=leg.handed)
    stranger = await start(transfer=replace(BIDIRECTIONAL, handshake_timeout=0.2))
    orphan = await prefill_for(client, prefill, messages=[*PROMPT, *PROMPT])
    await prefill.stop()
    for server in (decode, stranger):
        for stream in (False, True):
            answer = await client.chat(
                server.port,
                messages=[*PROMPT, *PROMPT],
                max_tokens=2,
                stream=stream,
                kv_transfer_params=orphan.handed,
            )
            assert answer.status == 500
            assert answer.body["error"]["type"] == "InternalServerError"
        assert (await client.chat(server.port, messages=PROMPT, max_tokens=2)).status == 200
        figures = await client.figures(server.port)
        assert figures["vllm:nixl_num_failed_transfers_total"] == 2
        assert figures['vllm:request_success_total{finished_reason="error",}'] == 2


async def test_a_decode_engine_told_to_recompute_survives_a_dead_prefill_engine(
    prefill: EngineServer, start: Any, client: Client
) -> None:
    transfer = replace(BIDIRECTIONAL, on_failure=OnFailure.RECOMPUTE, handshake_timeout=0.1)
    decode = await start(transfer=transfer)
    wanted = await client.chat(prefill.port, messages=PROMPT, max_tokens=3)
    leg = await prefill_for(client, prefill, messages=PROMPT)
    await prefill.stop()
    answer = await client.chat(decode.port, messages=PROMPT, max_tokens=3, kv_transfer_params=leg.handed)
    assert answer.tokens == wanted.tokens


async def test_a_wrong_port_does_not_matter_between_engines_that_have_met(
    prefill: EngineServer, decode: EngineServer, client: Client
) -> None:
    for change in ({}, {"remote_port": 1}):
        messages = [*PROMPT, {"role": "user", "content": f"{change}"}]
        leg = await prefill_for(client, prefill, messages=messages)
        answer = await client.chat(
            decode.port, messages=messages, max_tokens=1, kv_transfer_params={**(leg.handed or {}), **change}
        )
        assert answer.status == 200


async def test_a_used_dict_is_answered_without_complaint(
    prefill: EngineServer, decode: EngineServer, client: Client
) -> None:
    leg = await prefill_for(client, prefill, messages=PROMPT)
    for _ in range(2):
        answer = await client.chat(decode.port, messages=PROMPT, max_tokens=1, kv_transfer_params=leg.handed)
        assert answer.status == 200


async def test_remote_kv_without_block_ids_kills_the_engine(
    start: Any, client: Client, eventually: Callable[..., Any]
) -> None:
    server = await start()
    answer = await client.chat(server.port, messages=PROMPT, kv_transfer_params={"do_remote_prefill": True})
    assert answer.status == 500
    assert server.died.is_set()
    assert (await client.get(server.port, "/health"))[0] == 503

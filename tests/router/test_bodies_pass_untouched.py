"""What a client sent reaches the engine byte for byte, but for what has to be put in or taken out."""

import json
from pathlib import Path

import orjson
import pytest

from fakes.raw import STREAM_HEAD, RawPeer, Then, chunk, raw_peer, tell, whole
from pdscale.router.app import Router
from pdscale.router.fleet.peers import parse_static
from pdscale.router.meters import Place
from pdscale.router.policies import PolicyName
from pdscale.router.settings import Settings

BLOCKS = {"do_remote_prefill": True, "do_remote_decode": False, "remote_block_ids": [[1]]}
PREFILLED = [whole(orjson.dumps({"choices": [], "kv_transfer_params": BLOCKS}))]
ANSWER = [whole(b'{"choices": [{"index": 0}]}')]


def request(content: bytes, *more: bytes) -> bytes:
    lines = b"".join(line + b"\r\n" for line in (b"Host: a", b"Connection: close", *more))
    return b"POST /v1/chat/completions HTTP/1.1\r\n%bContent-Length: %d\r\n\r\n%b" % (
        lines,
        len(content),
        content,
    )


async def sidecar(engine: RawPeer, prefill: RawPeer, **settings: object) -> Router:
    static = f"decode=d=127.0.0.1:1:1,prefill=p=127.0.0.1:{prefill.port}:1"
    router = Router(
        Settings(
            Place.SIDECAR,
            pod_name="d",
            engine_url=engine.url,
            port=0,
            admin_port=0,
            static=parse_static(static),
            **{"placement": PolicyName.ALWAYS_REMOTE, **settings},  # type: ignore[arg-type]
        )
    )
    await router.start()
    return router


def body_of(message: bytes) -> bytes:
    return message.partition(b"\r\n\r\n")[2]


def legs_to(peer: RawPeer) -> list[bytes]:
    """Without what the sidecar asks its engine of its own accord."""
    return [r for r in peer.requests if r.startswith(b"POST")]


@pytest.mark.parametrize("size", [10, 200_000, 1_000_000])
async def test_a_body_of_any_size_is_only_added_to(size: int) -> None:
    content = b'{ "messages": [{"content": "%b", "n": 1.50}],\n "seed": 1e3}' % (b"\\u00e9" * (size // 6))
    async with raw_peer(ANSWER) as engine, raw_peer(PREFILLED) as prefill:
        router = await sidecar(engine, prefill)
        got = await tell(router.port, request(content, b"X-Session-ID: s", b"traceparent: 00-1-2-01"))
        await router.stop()
        sent = legs_to(engine)[0]
    assert body_of(got) == body_of(ANSWER[0])
    assert body_of(sent).endswith(content[1:])
    assert orjson.loads(body_of(sent)) == {**orjson.loads(content), "kv_transfer_params": BLOCKS}
    assert b"\r\ntraceparent: 00-1-2-01\r\n" in sent


async def test_a_client_that_asked_for_no_usage_is_asked_for_behind_its_back() -> None:
    content = b'{"stream" : true}'
    async with raw_peer([STREAM_HEAD + chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"]) as engine:
        router = await sidecar(engine, engine, placement=PolicyName.ALWAYS_LOCAL)
        await tell(router.port, request(content))
        await tell(
            router.port, request(b'{"stream": true, "stream_options": {"include_usage": false, "a": 1}}')
        )
        await router.stop()
        bodies = [body_of(r) for r in legs_to(engine)]
    assert bodies[0] == b'{"stream_options":{"include_usage":true},"stream" : true}'
    assert json.loads(bodies[1])["stream_options"] == {"include_usage": True, "a": 1}


@pytest.mark.parametrize("content", [b"[1]", b"{", b"", b'{"a": NaN}', '{"a": 1}'.encode("utf-16")])
async def test_a_body_that_cannot_be_read_reaches_no_engine(content: bytes) -> None:
    async with raw_peer(ANSWER) as engine:
        router = await sidecar(engine, engine)
        got = await tell(router.port, request(content))
        await router.stop()
        assert legs_to(engine) == []
    assert got.startswith(b"HTTP/1.1 400 ")
    assert orjson.loads(body_of(got))["error"]["code"] == 400


@pytest.mark.parametrize(
    "junk",
    [
        pytest.param([b"no HTTP at all\r\n\r\n"], id="junk"),
        pytest.param([STREAM_HEAD + b"zz\r\n"], id="junk for a chunk"),
        pytest.param([STREAM_HEAD + b"5\r\nhel", Then.ABORT], id="reset in a chunk"),
        pytest.param([whole(b"{}")], id="no parameters"),
        pytest.param([whole(b"busy", status="429 Too Many Requests")], id="too many"),
        pytest.param([Then.STALL], id="silence"),
    ],
)
async def test_a_prefill_engine_of_any_condition_costs_no_request(junk: list[bytes | Then]) -> None:
    async with raw_peer(ANSWER) as engine, raw_peer(junk) as prefill:
        router = await sidecar(engine, prefill, prefill_timeout=0.2)
        got = await tell(router.port, request(b'{"messages": []}', b"X-Session-ID: s"))
        await router.stop()
        sent = orjson.loads(body_of(legs_to(engine)[0]))
    assert got.startswith(b"HTTP/1.1 200 ")
    assert sent["kv_transfer_params"] == {"do_remote_decode": True, "do_remote_prefill": False}


@pytest.mark.parametrize(
    ("script", "status"),
    [
        pytest.param([b"junk\r\n\r\n"], b"502", id="junk"),
        pytest.param([STREAM_HEAD + b"zz\r\n"], b"502", id="junk for a chunk"),
        pytest.param(
            [STREAM_HEAD + chunk(b"data: {}\n\n") + b"9\r\nab", Then.ABORT], b"200", id="reset mid-chunk"
        ),
    ],
)
async def test_a_decode_engine_that_sends_junk_ends_the_round_and_not_the_router(
    script: list[bytes | Then], status: bytes
) -> None:
    async with raw_peer(script) as engine:
        router = await sidecar(engine, engine, placement=PolicyName.ALWAYS_LOCAL)
        got = await tell(router.port, request(b'{"stream": true, "messages": []}'))
        await router.stop()
    assert got.startswith(b"HTTP/1.1 " + status)
    if status == b"200":
        assert b'"UpstreamLost"' in got
        assert got.endswith(b"0\r\n\r\n")
        assert b"[DONE]" not in got


async def test_a_token_file_guards_the_client_port_only(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("secret\n")
    async with raw_peer(ANSWER) as engine:
        router = await sidecar(engine, engine, placement=PolicyName.ALWAYS_LOCAL, token_file=file)
        without = await tell(router.port, request(b"{}"))
        with_it = await tell(router.port, request(b"{}", b"Authorization: Bearer secret"))
        await router.stop()
    assert without.startswith(b"HTTP/1.1 401 ")
    assert with_it.startswith(b"HTTP/1.1 200 ")

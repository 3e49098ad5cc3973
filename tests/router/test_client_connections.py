"""The client's side of the wire, over real sockets: order, limits, times, leaving, reading slowly."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from fakes.fleet import eventually
from fakes.raw import connected, read_message, tell
from pdscale.router.guard import Guard
from pdscale.router.wire.reply import Reply
from pdscale.router.wire.request import Limits, Request
from pdscale.router.wire.server import Server

Handler = Callable[[Request, Reply], Awaitable[None]]
GET = b"GET /v1/%b HTTP/1.1\r\nHost: a\r\n\r\n"


async def echo(request: Request, reply: Reply) -> None:
    await asyncio.sleep(0)
    reply.whole(200, b"", request.head.path + b" " + request.content)


def error_body(status: int, message: str) -> bytes:
    return b'{"error": {"code": %d}}' % status


@asynccontextmanager
async def serving(
    handler: Handler = echo, *, limits: Limits | None = None, tick: float = 1.0, token: bytes | None = None
) -> AsyncIterator[tuple[Server, int]]:
    server = Server(handler, guard=Guard(token), error_body=error_body, limits=limits, tick=tick)
    port = await server.listen("127.0.0.1", 0)
    try:
        yield server, port
    finally:
        await asyncio.wait_for(server.close(), 5)


async def test_requests_sent_ahead_are_answered_in_order_and_one_at_a_time() -> None:
    at_work, most = 0, 0

    async def handler(request: Request, reply: Reply) -> None:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        await asyncio.sleep(0.02 if request.head.path == b"/v1/a" else 0)
        at_work -= 1
        reply.whole(200, b"", request.head.path)

    async with serving(handler) as (_, port), connected(port) as (reader, writer):
        writer.write(GET % b"a" + GET % b"b" + (GET % b"c")[:20])
        answers = [await read_message(reader) for _ in range(2)]
        writer.write((GET % b"c")[20:])
        answers.append(await read_message(reader))
        assert [a.rpartition(b"\r\n\r\n")[2] for a in answers] == [b"/v1/a", b"/v1/b", b"/v1/c"]
        assert most == 1


async def test_a_bad_request_sent_ahead_is_refused_after_the_good_one_is_answered() -> None:
    async with serving() as (_, port):
        got = await tell(port, GET % b"a" + b"NONSENSE\r\n\r\n")
    assert got.index(b"200 OK") < got.index(b"400 Bad Request")


async def test_a_client_that_waits_for_a_word_before_its_body_gets_it() -> None:
    async with serving() as (_, port), connected(port) as (reader, writer):
        writer.write(b"POST /v1/x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"ab")
        assert (await read_message(reader)).endswith(b"/v1/x ab")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        pytest.param(b"POST /v1/x HTTP/1.1\r\nHost: a\r\nContent-Length: 101\r\n\r\n", 413, id="long body"),
        pytest.param(
            b"POST /v1/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n" + b"x" * 255,
            413,
            id="long chunked body",
        ),
        pytest.param(b"GET /v1/x HTTP/1.1\r\nHost: a\r\nA: " + b"b" * 70_000, 431, id="long head"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 404, id="elsewhere"),
        pytest.param(b"CONNECT b:80 HTTP/1.1\r\nHost: b\r\n\r\n", 404, id="tunnel"),
        pytest.param(GET % b"../metrics", 400, id="climbing"),
        pytest.param(GET % b"%2e%2E/metrics", 400, id="climbing, encoded"),
        pytest.param(b"GET /v1/x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, id="two hosts"),
    ],
)
async def test_what_is_refused_is_answered_in_json_and_ends_the_connection(
    request_: bytes, status: int
) -> None:
    async with serving(limits=Limits(body=100)) as (_, port):
        got = await tell(port, request_)
    assert got.startswith(b"HTTP/1.1 %d " % status)
    assert b"connection: close" in got
    assert got.endswith(b'{"error": {"code": %d}}' % status)


async def test_a_client_that_sends_on_after_a_refusal_can_still_read_it() -> None:
    async with serving(limits=Limits(body=100)) as (_, port), connected(port) as (reader, writer):
        writer.write(b"POST /v1/x HTTP/1.1\r\nHost: a\r\nContent-Length: 5000000\r\n\r\n")
        for _ in range(50):
            writer.write(b"x" * 100_000)
            await writer.drain()
        assert (await reader.read()).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        pytest.param(b"GET /v1/x HT", b"HTTP/1.1 408 ", id="in a head"),
        pytest.param(
            b"POST /v1/x HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\na", b"HTTP/1.1 408 ", id="in a body"
        ),
        pytest.param(b"", b"", id="before a head"),
    ],
)
async def test_a_client_that_stops_sending_is_let_go(sent: bytes, status: bytes) -> None:
    limits = Limits(idle_seconds=0.1, head_seconds=0.05)
    async with serving(limits=limits, tick=0.02) as (_, port):
        got = await tell(port, sent)
    assert got.startswith(status)
    assert bool(got) is bool(status)


async def test_old_clients_get_an_answer_that_ends_with_the_connection() -> None:
    async def handler(_: Request, reply: Reply) -> None:
        reply.begin(200, b"")
        reply.write(b"one ")
        reply.write(b"two")
        reply.end()

    async with serving(handler) as (_, port):
        old = await tell(port, b"GET /v1/x HTTP/1.0\r\n\r\n")
        head = await tell(port, b"HEAD /v1/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        new = await tell(port, b"GET /v1/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert old.endswith(b"\r\n\r\none two")
    assert b"chunked" not in old
    assert head.endswith(b"\r\n\r\n")
    assert new.endswith(b"\r\n\r\n4\r\none \r\n3\r\ntwo\r\n0\r\n\r\n")


async def test_a_client_that_leaves_cancels_its_request_at_once() -> None:
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def handler(_: Request, __: Reply) -> None:
        begun.set()
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async with serving(handler) as (_, port):
        async with connected(port) as (_, writer):
            writer.write(GET % b"x")
            await begun.wait()
        await asyncio.wait_for(cancelled.wait(), 5)


async def test_whoever_feeds_a_client_that_reads_slowly_is_paused_and_resumed() -> None:
    calls: list[str] = []
    sent = asyncio.Event()

    async def handler(_: Request, reply: Reply) -> None:
        reply.throttle(lambda: calls.append("pause"), lambda: calls.append("resume"))
        reply.begin(200, b"")
        for _number in range(200):
            reply.write(b"x" * 100_000)
        sent.set()
        await eventually(lambda: "resume" in calls)
        reply.unthrottle()
        reply.end()

    async with serving(handler) as (_, port), connected(port) as (reader, writer):
        writer.write(GET % b"x")
        await sent.wait()
        assert calls == ["pause"]
        assert len(await read_message(reader)) > 20_000_000
        assert calls == ["pause", "resume"]


async def test_a_handler_that_fails_is_a_500_and_no_more(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(_: Request, __: Reply) -> None:
        raise RuntimeError("a bug")

    async with serving(handler) as (_, port), connected(port) as (reader, writer):
        writer.write(GET % b"x")
        assert (await read_message(reader)).startswith(b"HTTP/1.1 500 ")
        assert "a bug" in caplog.text
        writer.write(GET % b"x")
        assert (await read_message(reader)).startswith(b"HTTP/1.1 500 ")


async def test_answers_close_their_connections_while_the_server_drains() -> None:
    async with serving() as (server, port), connected(port) as (reader, writer):
        writer.write(GET % b"x")
        assert b"connection: close" not in await read_message(reader)
        server.draining = True
        writer.write(GET % b"x")
        assert b"connection: close" in await reader.read()


@pytest.mark.parametrize(
    ("line", "status"),
    [
        pytest.param(b"", 401, id="none"),
        pytest.param(b"Authorization: Bearer wrong\r\n", 401, id="wrong"),
        pytest.param(b"Authorization: Basic secret\r\n", 401, id="other scheme"),
        pytest.param(b"authorization: bearer  secret \r\n", 200, id="right"),
    ],
)
async def test_a_bearer_token_is_asked_for_before_a_body_is_read(line: bytes, status: int) -> None:
    async with serving(token=b"secret") as (_, port):
        request = (
            b"POST /v1/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" + line + b"Content-Length: 2\r\n\r\n"
        )
        got = await tell(port, request, *([b"ab"] if status == 200 else []))
    assert got.startswith(b"HTTP/1.1 %d " % status)
    assert (b"www-authenticate: Bearer" in got) is (status == 401)

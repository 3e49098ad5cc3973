"""The peer's side of the wire, over real sockets: what is kept, what is sent again, what is refused."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from fakes.fleet import eventually
from fakes.raw import OK, STREAM_HEAD, Script, Then, chunk, raw_peer, whole
from pdscale.placement.exchange import Failure
from pdscale.router.hop.legs import Answer, LegFailed, Legs
from pdscale.router.wire.links import Links

GOOD = [whole(b"good")]


@asynccontextmanager
async def legs(**options: float) -> AsyncIterator[Legs]:
    opened = Legs(Links(**options))  # type: ignore[arg-type]
    try:
        yield opened
    finally:
        opened.close()
        await asyncio.sleep(0)


async def ask(opened: Legs, url: str, *, content: bytes = b"{}", **options: bool | float) -> Answer:
    return await opened.open(
        url,
        b"/v1/x",
        method="POST",
        headers=b"a: b\r\n",
        content=content,
        **options,  # type: ignore[arg-type]
    )


async def test_a_connection_is_used_again_and_the_request_is_what_was_asked_for() -> None:
    async with raw_peer(GOOD) as peer, legs() as opened:
        for _ in range(3):
            assert await (await ask(opened, peer.url)).whole() == b"good"
        assert peer.connections == 1
        host = b"host: 127.0.0.1:%d\r\n" % peer.port
        assert peer.requests[0] == b"POST /v1/x HTTP/1.1\r\n" + host + b"a: b\r\ncontent-length: 2\r\n\r\n{}"


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(
            [whole(b"good").replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")], id="asked to close"
        ),
        pytest.param([whole(b"good") + b"more"], id="surplus"),
        pytest.param([b"HTTP/1.0 200 OK\r\ncontent-length: 4\r\n\r\ngood"], id="old"),
        pytest.param([OK + b"\r\ngood", Then.CLOSE], id="until close"),
    ],
)
async def test_an_odd_connection_is_not_used_again(script: Script) -> None:
    async with raw_peer(script) as peer, legs() as opened:
        for _ in range(2):
            assert await (await ask(opened, peer.url)).whole() == b"good"
        assert peer.connections == 2


async def test_an_idle_connection_is_not_trusted_for_long() -> None:
    async with raw_peer(GOOD) as peer, legs(idle=0.0) as opened:
        for _ in range(2):
            await (await ask(opened, peer.url)).whole()
        assert peer.connections == 2


@pytest.mark.parametrize("replay", [True, False], ids=["may be sent again", "only once"])
async def test_a_stale_connection_is_noticed_and_the_request_sent_once_more_if_it_may(replay: bool) -> None:
    async with raw_peer(GOOD, [Then.CLOSE], GOOD) as peer, legs() as opened:
        await (await ask(opened, peer.url)).whole()
        if replay:
            assert await (await ask(opened, peer.url, replay=True)).whole() == b"good"
            assert (len(peer.requests), peer.connections) == (3, 2)
        else:
            with pytest.raises(LegFailed) as failed:
                await ask(opened, peer.url)
            assert failed.value.failure is Failure.UNREACHABLE
            assert len(peer.requests) == 2


async def test_a_fresh_connection_that_is_closed_is_a_failure_and_no_reason_to_repeat() -> None:
    async with raw_peer([Then.CLOSE]) as peer, legs() as opened:
        with pytest.raises(LegFailed) as failed:
            await ask(opened, peer.url, replay=True)
        assert failed.value.failure is Failure.UNREACHABLE
        assert len(peer.requests) == 1


@pytest.mark.parametrize(
    ("script", "failure"),
    [
        pytest.param([b"SSH-2.0-OpenSSH\r\n\r\n"], Failure.UNREACHABLE, id="another protocol"),
        pytest.param([b"x" * 70_000], Failure.UNREACHABLE, id="an endless head"),
        pytest.param([b"HTTP/1.1 101 Go\r\n\r\n"], Failure.UNREACHABLE, id="a switch of protocols"),
        pytest.param([OK + b"content-length: 1, 2\r\n\r\n"], Failure.UNREACHABLE, id="two lengths"),
        pytest.param([STREAM_HEAD + b"5\r\nhel", Then.ABORT], Failure.CUT, id="reset inside a chunk"),
        pytest.param([STREAM_HEAD + b"5\r\nhel", Then.CLOSE], Failure.CUT, id="closed inside a chunk"),
        pytest.param([STREAM_HEAD + b"2\r\nhello\r\n"], Failure.CUT, id="a chunk beyond its size"),
        pytest.param([OK + b"content-length: 9\r\n\r\nhel", Then.CLOSE], Failure.CUT, id="a short body"),
    ],
)
async def test_half_an_answer_or_junk_is_a_failure(script: Script, failure: Failure) -> None:
    async with raw_peer(script) as peer, legs() as opened:
        with pytest.raises(LegFailed) as failed:
            await (await ask(opened, peer.url)).whole()
        assert failed.value.failure is failure


@pytest.mark.parametrize("script", [[Then.STALL], [STREAM_HEAD, Then.STALL]], ids=["no head", "no body"])
async def test_a_leg_has_a_time_for_all_of_its_answer(script: Script) -> None:
    async with raw_peer(script) as peer, legs() as opened:
        with pytest.raises(LegFailed) as failed:
            await (await ask(opened, peer.url, within=0.05)).whole()
        assert failed.value.failure is Failure.TIMED_OUT


async def test_interim_answers_are_read_over() -> None:
    async with (
        raw_peer([b"HTTP/1.1 103 Early Hints\r\na: b\r\n\r\n" + whole(b"good")]) as peer,
        legs() as opened,
    ):
        answer = await ask(opened, peer.url)
        assert (answer.status, await answer.whole()) == (200, b"good")


async def test_nobody_listening_is_unreachable() -> None:
    async with legs() as opened:
        with pytest.raises(LegFailed) as failed:
            await ask(opened, "http://127.0.0.1:1")
        assert failed.value.failure is Failure.UNREACHABLE


async def test_an_owed_request_reaches_its_peer_though_its_client_has_left() -> None:
    async with raw_peer([Then.STALL]) as peer, legs() as opened:
        for steps in (1, 2, 3, 5, 8):  # while connecting, while sending, while waiting
            asked = asyncio.ensure_future(ask(opened, peer.url, owed=True))
            for _ in range(steps):
                await asyncio.sleep(0)
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)
        await eventually(lambda: len(peer.requests) == 5)


class Outflow:
    """A client that has had enough from the start."""

    def __init__(self) -> None:
        self.resume: Callable[[], None] = lambda: None

    def throttle(self, pause: Callable[[], None], resume: Callable[[], None]) -> None:
        self.resume = resume
        pause()

    def unthrottle(self) -> None:
        pass


async def test_a_relayed_answer_waits_for_its_reader_with_bounded_memory() -> None:
    piece = b"x" * 50_000
    async with raw_peer([STREAM_HEAD, *([chunk(piece)] * 400), b"0\r\n\r\n"]) as peer, legs() as opened:
        outflow, got = Outflow(), 0
        answer = await ask(opened, peer.url)

        def take(piece: bytes) -> None:
            nonlocal got
            got += len(piece)

        relay = asyncio.ensure_future(answer.relay(take, outflow))
        for _ in range(20):
            await asyncio.sleep(0.005)
        assert got < 1_000_000  # one read's worth of 20 MB
        outflow.resume()
        await relay
        assert got == 400 * len(piece)


async def test_unread_answers_are_not_gathered_without_bound() -> None:
    script = [STREAM_HEAD, *([chunk(b"x" * 50_000)] * 400), b"0\r\n\r\n"]
    async with raw_peer(script) as peer, legs() as opened:
        answer = await ask(opened, peer.url)
        for _ in range(20):
            await asyncio.sleep(0.005)
        assert len(await answer.chunk()) < 1_000_000
        rest = 0
        while piece := await answer.chunk():
            rest += len(piece)
        assert rest > 10_000_000

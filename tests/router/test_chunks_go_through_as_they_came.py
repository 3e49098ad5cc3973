"""Reads of a relayed stream that go to the client chunk and all: same bytes, same books, nothing slips by."""

import asyncio
from itertools import pairwise
from typing import Final

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdscale.engines.answers import StreamReader
from pdscale.placement.window import SlidingMean
from pdscale.router.hop.legs import Answer
from pdscale.router.hop.outlet import Outlet
from pdscale.router.hop.pace import Pace, Passing
from pdscale.router.wire.framing import Chunked
from pdscale.router.wire.link import Link
from pdscale.router.wire.reply import Reply

HEAD: Final = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
FIRST: Final = b'data: {"choices":[{"delta":{"role":"assistant"}}]}\n\n'


def event(thing: object) -> bytes:
    return b"data: " + orjson.dumps(thing) + b"\n\n"


def chunk(piece: bytes, extension: bytes = b"") -> bytes:
    return b"%x%b\r\n%b\r\n" % (len(piece), extension, piece)


class Wires:
    """The transport to the engine, and the client's connection."""

    ends = False

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.paused = 0

    def send(self, data: bytes) -> None:
        self.sent.append(data)

    def answered(self, *, close: bool) -> None: ...

    def throttle(self, pause: object, resume: object) -> None: ...

    def unthrottle(self) -> None: ...

    # ---- the engine's side

    def write(self, data: bytes) -> None: ...

    def get_extra_info(self, name: str) -> None: ...

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return False

    def abort(self) -> None: ...

    # ---- the keeper's

    def keep(self, link: Link) -> None: ...

    def lost(self, link: Link) -> None: ...


def relayed(reads: list[bytes], *, hide: bool, version: str = "1.1") -> tuple[list[bytes], StreamReader]:
    """What the client is sent, and what was read in passing."""
    return asyncio.run(_relayed(reads, hide=hide, version=version))


async def _relayed(reads: list[bytes], *, hide: bool, version: str) -> tuple[list[bytes], StreamReader]:
    wires, reader = Wires(), StreamReader(hide_usage=hide)
    link = Link(wires)
    link.connection_made(wires)  # type: ignore[arg-type]
    answer_ = link.send("POST", b"", b"")
    link.data_received(HEAD + chunk(FIRST))
    head = answer_.started()
    assert head is not None
    answer = Answer(answer_, head)
    outlet = Outlet(Reply(wires, method="POST", version=version))
    outlet.begin(200, answer.headers)
    pace = Pace(reader, outlet, SlidingMean(), asyncio.get_running_loop().time)
    pace.first(await answer.chunk())
    relay = asyncio.ensure_future(
        answer.relay(pace.take, outlet, pace.through if outlet.takes_chunks else None)
    )
    await asyncio.sleep(0)
    for read in reads:
        link.data_received(read)
    await relay
    outlet.write(reader.flush())
    outlet.end()
    return wires.sent, reader


def unframed(sent: list[bytes]) -> bytes:
    framing = Chunked()
    body = framing.feed(b"".join(sent).partition(b"\r\n\r\n")[2])
    assert framing.done
    assert not framing.surplus
    return body


events = st.one_of(
    st.sampled_from("abc").map(lambda text: event({"choices": [{"delta": {"content": text}}]})),
    st.just(b'data: {"choices":[],"kv_transfer_params":null}\n\n'),
    st.just(event({"choices": [], "kv_transfer_params": {"remote_block_ids": [[1]]}})),
    st.just(event({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3}})),
    st.just(event({"error": {"message": "m"}})),
    st.just(b": a comment\n\n"),
    st.just(b"data: 1\ndata: 2\n\n"),
    st.just(b'data: {"a":"\\n"}\r\n\r\n'),
)


@st.composite
def streams(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    """A body, and the reads that it comes in: mostly an event is a chunk and a chunk a read."""
    body = b"".join([*draw(st.lists(events, max_size=8)), b"data: [DONE]\n\n"])
    ends = {at + 2 for at in range(len(body)) if body[at : at + 2] == b"\n\n"}
    cuts = ends ^ draw(st.sets(st.integers(1, len(body) - 1), max_size=4))
    pieces = [body[a:b] for a, b in pairwise(sorted({0, *cuts, len(body)}))]
    extensions = st.sampled_from((b"", b"", b"", b";x=1"))
    framed = [chunk(piece, draw(extensions)) for piece in pieces]
    wire = b"".join(framed) + b"0\r\n\r\n"
    ends = {sum(map(len, framed[:n])) for n in range(len(framed) + 1)}
    cuts = ends ^ draw(st.sets(st.integers(1, len(wire) - 1), max_size=4))
    return body, [wire[a:b] for a, b in pairwise(sorted({0, *cuts, len(wire)}))]


@given(streams(), st.booleans())
def test_the_client_gets_the_same_bytes_and_the_books_are_the_same_however_reads_are_cut(
    stream: tuple[bytes, list[bytes]], hide: bool
) -> None:
    body, reads = stream
    sent, reader = relayed(reads, hide=hide)
    plain = StreamReader(hide_usage=hide)
    expected = plain.feed(FIRST) + plain.feed(body) + plain.flush()
    assert unframed(sent) == expected
    assert b"x=1" not in b"".join(sent)
    assert b"kv_transfer_params" not in b"".join(sent)
    for name in ("usage", "params", "done", "failed"):
        assert getattr(reader, name) == getattr(plain, name), name


TOKEN: Final = chunk(event({"choices": [{"delta": {"content": "abc"}}]}))
LAST: Final = chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"


def test_a_read_that_is_one_chunk_with_one_token_goes_on_as_the_same_object() -> None:
    Chunked().feed(TOKEN)  # its size has been seen
    sent, reader = relayed([TOKEN, TOKEN, TOKEN, LAST], hide=True)
    assert sum(piece is TOKEN for piece in sent) == 3
    assert reader.events == 1 + 3 + 1


@pytest.mark.parametrize(
    "odd",
    [
        pytest.param(chunk(event({"usage": {"prompt_tokens": 1, "completion_tokens": 1}})), id="usage"),
        pytest.param(chunk(b'data: {"kv_transfer_params":null}\n\n'), id="parameters"),
        pytest.param(chunk(b"data: 1\n\ndata: 2\n\n"), id="two events"),
        pytest.param(chunk(b"data: 1\n"), id="half an event"),
    ],
)
def test_after_a_chunk_that_has_to_be_opened_all_are(odd: bytes) -> None:
    for seen in (TOKEN, odd):
        Chunked().feed(seen)
    sent, _ = relayed([TOKEN, odd, TOKEN, TOKEN, LAST], hide=False)
    assert sum(piece is TOKEN for piece in sent) == 1


def test_a_client_of_the_old_protocol_gets_no_chunks() -> None:
    sent, _ = relayed([TOKEN, TOKEN, LAST], hide=False, version="1.0")
    token = event({"choices": [{"delta": {"content": "abc"}}]})
    assert b"".join(sent).partition(b"\r\n\r\n")[2] == FIRST + token + token + b"data: [DONE]\n\n"


def test_the_front_notes_when_the_last_token_came() -> None:
    times, wires = iter((1.0, 2.0)), Wires()
    outlet = Outlet(Reply(wires, method="POST", version="1.1"))
    passing = Passing(StreamReader(), outlet, lambda: next(times), last=0.0)
    for at in (1.0, 2.0):
        assert passing.through(TOKEN, TOKEN.index(b"\n") + 1)
        assert passing.last == at
    assert not passing.through(chunk(b"data: [DONE]\n\n"), 3)
    assert passing.last == 2.0

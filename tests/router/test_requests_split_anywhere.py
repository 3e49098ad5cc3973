"""Requests out of bytes: the same however they are split; whoever smuggles is refused."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.raw import chunk
from pdscale.router.wire.errors import BadRequest
from pdscale.router.wire.parsing import Parsing
from pdscale.router.wire.request import Head, Limits, Request

HOST = b"Host: a\r\n"


class Heard:
    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.expects: list[bool] = []

    def head_complete(self, *, expects: bool) -> None:
        self.expects.append(expects)

    def request_complete(self, request: Request) -> None:
        self.requests.append(request)


def anything(_: Head) -> None:
    return None


def parsed(*pieces: bytes, limits: Limits | None = None) -> Heard:
    heard = Heard()
    parsing = Parsing(heard, limits or Limits(), anything)
    for piece in pieces:
        parsing.feed(piece)
    return heard


def split(content: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({cut % (len(content) + 1) for cut in cuts} | {0, len(content)})
    return [content[a:b] for a, b in pairwise(places)]


tokens = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=12).map(lambda t: f"x{t}".encode())
values = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20).map(str.encode)


@given(
    st.lists(st.tuples(tokens, values), max_size=8),
    st.lists(st.binary(min_size=1, max_size=30), max_size=4),
    st.booleans(),
    st.lists(st.integers(0, 2000), max_size=15),
)
def test_two_requests_split_anywhere_are_the_same_two_requests(
    headers: list[tuple[bytes, bytes]], pieces: list[bytes], chunked: bool, cuts: list[int]
) -> None:
    content = b"".join(pieces)
    lines = HOST + b"".join(b"%b: %b\r\n" % header for header in headers)
    if chunked:
        framing, coded = b"Transfer-Encoding: chunked\r\n", b"".join(map(chunk, pieces)) + b"0\r\n\r\n"
    else:
        framing, coded = b"Content-Length: %d\r\n" % len(content), content
    request = b"POST /v1/x?y=1 HTTP/1.1\r\n" + lines + framing + b"\r\n" + coded
    heard = parsed(*split(request * 2, cuts))
    assert len(heard.requests) == 2
    for one in heard.requests:
        assert (one.head.method, one.head.path, one.head.target) == ("POST", b"/v1/x", b"/v1/x?y=1")
        assert one.content == content
        got = [h for h in one.head.headers if h[0].lower() not in (b"host", b"content-length")]
        assert [h for h in got if h[0] != b"Transfer-Encoding"] == headers


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=4))
def test_random_bytes_are_refused_and_never_crash(junk: bytes, cuts: list[int]) -> None:
    try:
        heard = parsed(*split(junk, cuts))
    except BadRequest:
        return
    assert heard.requests == []


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param(b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", id="length and chunks"),
        pytest.param(b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", id="chunks and length"),
        pytest.param(b"Content-Length: 3\r\nContent-Length: 3\r\n", id="two lengths"),
        pytest.param(b"Content-Length: 3\r\nContent-Length: 4\r\n", id="two different lengths"),
        pytest.param(b"Content-Length: +3\r\n", id="signed length"),
        pytest.param(b"Content-Length: 3\r\n ,4\r\n", id="folded length"),
        pytest.param(b"A: b\r\n c\r\n", id="folded line"),
        pytest.param(b"Transfer-Encoding: gzip, chunked\r\n", id="another coding"),
        pytest.param(b"Transfer-Encoding: xchunked\r\n", id="a coding that ends alike"),
        pytest.param(b"TRANSFER-ENCODING: gzip\r\n", id="another coding, shouted"),
        pytest.param(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", id="coded twice"),
        pytest.param(b"Transfer-Encoding : chunked\r\n", id="space before the colon"),
        pytest.param(b"Host: b\r\n", id="second host"),
        pytest.param(b"A: b\nC: d\r\n", id="bare line feed"),
        pytest.param(b"A: b\rC\r\n", id="bare carriage return"),
        pytest.param(b"A: \0\r\n", id="NUL"),
    ],
)
def test_what_two_parsers_could_read_in_two_ways_is_refused(lines: bytes) -> None:
    with pytest.raises(BadRequest) as refused:
        parsed(b"POST /v1/x HTTP/1.1\r\n" + HOST + lines + b"\r\n0\r\n\r\n")
    assert refused.value.status == 400


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(b"GET /v1/x HTTP/1.1\r\n\r\n", id="no host"),
        pytest.param(b"GET /v1/x\r\n\r\n", id="HTTP/0.9"),
        pytest.param(b"GET /v1/x HTTP/3.0\r\n\r\n", id="HTTP/3"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", id="HTTP/2 preface"),
        pytest.param(b"POST /v1/x HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", id="chunks in 1.0"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", id="TLS"),
    ],
)
def test_what_is_no_request_of_ours_is_refused(request_: bytes) -> None:
    with pytest.raises(BadRequest) as refused:
        parsed(request_)
    assert refused.value.status == 400


def test_a_head_beyond_the_limit_is_refused_whether_it_ends_or_not() -> None:
    limits = Limits(head=1000)
    long = b"GET /v1/x HTTP/1.1\r\n" + HOST + b"A: " + b"b" * 1000
    for pieces in ([long + b"\r\n\r\n"], split(long, list(range(0, 1000, 100)))):
        with pytest.raises(BadRequest) as refused:
            parsed(*pieces, limits=limits)
        assert refused.value.status == 431


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 11\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\nb\r\n"]
)
def test_a_body_beyond_the_limit_is_refused(framing: bytes) -> None:
    with pytest.raises(BadRequest) as refused:
        parsed(b"POST /v1/x HTTP/1.1\r\n" + HOST + framing + b"b" * 11, limits=Limits(body=10))
    assert refused.value.status == 413


def test_an_offer_to_upgrade_is_declined_and_the_body_read() -> None:
    offer = (
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAA\r\nContent-Length: 3\r\n"
    )
    heard = parsed(b"POST /v1/x HTTP/1.1\r\n" + HOST + offer + b"\r\nab", b"c")
    assert [r.content for r in heard.requests] == [b"abc"]
    names = [name for name, _ in heard.requests[0].head.headers]
    assert names == [b"Host", b"Content-Length"]


def test_trailers_change_nothing() -> None:
    coded = b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-Session-ID: evil\r\n\r\n"
    heard = parsed(b"POST /v1/x HTTP/1.1\r\n" + HOST + coded)
    assert heard.requests[0].head.value(b"x-session-id") is None

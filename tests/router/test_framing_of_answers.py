"""Where an answer ends, however its bytes are split, and what is refused."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.raw import chunk
from pdscale.router.wire.answer_head import AnswerHead, head_of
from pdscale.router.wire.errors import Nonsense
from pdscale.router.wire.framing import Chunked, Length, UntilClose

bodies = st.lists(st.binary(min_size=1, max_size=40), max_size=6)


def split(content: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({cut % (len(content) + 1) for cut in cuts} | {0, len(content)})
    return [content[a:b] for a, b in pairwise(places)]


@given(bodies, st.lists(st.integers(0, 1000), max_size=12), st.sampled_from([b"", b";ext=1", b" ; a"]))
def test_chunks_split_anywhere_give_the_same_bytes(
    pieces: list[bytes], cuts: list[int], extension: bytes
) -> None:
    coded = b"".join(b"%x%b\r\n%b\r\n" % (len(p), extension, p) for p in pieces) + b"0\r\nX-T: 1\r\n\r\n"
    framing = Chunked()
    got = b"".join(framing.feed(part) for part in split(coded, cuts))
    assert got == b"".join(pieces)
    assert framing.done
    assert not framing.surplus


@given(bodies, st.integers(1, 60))
def test_a_chunked_body_is_not_done_before_its_last_byte(pieces: list[bytes], missing: int) -> None:
    coded = b"".join(map(chunk, pieces)) + b"0\r\n\r\n"
    framing = Chunked()
    framing.feed(coded[: max(0, len(coded) - missing)])
    assert not framing.done
    assert not framing.at_close()


@given(st.binary(max_size=60), st.lists(st.integers(0, 100), max_size=5))
def test_random_bytes_are_chunks_or_are_refused_but_never_crash(junk: bytes, cuts: list[int]) -> None:
    framing = Chunked()
    try:
        for part in split(junk, cuts):
            framing.feed(part)
    except Nonsense:
        pass


@pytest.mark.parametrize(
    "coded",
    [
        pytest.param(b"0x5\r\nhello\r\n", id="prefix"),
        pytest.param(b"+5\r\nhello\r\n", id="sign"),
        pytest.param(b"1_0\r\n", id="underscore"),
        pytest.param(b" 5\r\nhello\r\n", id="space"),
        pytest.param(b"\r\nhello", id="empty"),
        pytest.param(b"ffffffffffffffff\r\n", id="longer than anything"),
        pytest.param(b"5\r\nhello!\r\n", id="payload beyond its size"),
        pytest.param(b"5;" + b"a" * 5000, id="endless extension"),
        pytest.param(b"0\r\n" + b"a: b\r\n" * 100, id="endless trailers"),
    ],
)
def test_what_is_no_chunk_is_refused(coded: bytes) -> None:
    with pytest.raises(Nonsense):
        Chunked().feed(coded)


def test_what_follows_a_body_is_noticed_and_not_passed_on() -> None:
    framing = Chunked()
    assert framing.feed(b"2\r\nab\r\n0\r\n\r\nHTTP/1.1") == b"ab"
    assert framing.surplus
    length = Length(2)
    assert length.feed(b"abc") == b"ab"
    assert length.surplus


def head(*lines: bytes, first: bytes = b"HTTP/1.1 200 OK") -> AnswerHead:
    return AnswerHead(b"\r\n".join((first, *lines)))


def test_the_head_chooses_the_framing() -> None:
    assert isinstance(head(b"Content-Length: 3").framing("POST"), Length)
    assert isinstance(head(b"Transfer-Encoding: chunked").framing("POST"), Chunked)
    assert isinstance(head().framing("POST"), UntilClose)
    assert head(b"Content-Length: 3").framing("HEAD").done
    assert head(first=b"HTTP/1.1 204 No Content").framing("GET").done
    assert head().keep_alive
    assert not head(b"Connection: Close").keep_alive
    assert not head(first=b"HTTP/1.0 200 OK").keep_alive


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param((b"content-length: 3", b"content-length: 3"), id="two lengths"),
        pytest.param((b"content-length: 3, 3",), id="two lengths in one line"),
        pytest.param((b"content-length: 3", b"transfer-encoding: chunked"), id="two framings"),
        pytest.param((b"transfer-encoding: gzip, chunked",), id="another coding"),
        pytest.param((b"content-length: -1",), id="negative length"),
        pytest.param((b"content-length: 0x3",), id="hexadecimal length"),
        pytest.param((b"a: b", b" folded"), id="folded line"),
        pytest.param((b"a : b",), id="space before the colon"),
        pytest.param((b"nothing",), id="no colon"),
        pytest.param((b"a: b\nc: d",), id="bare line feed"),
        pytest.param((b"a: b\rc",), id="bare carriage return"),
        pytest.param((b"a: \0",), id="NUL"),
    ],
)
def test_an_ambiguous_head_of_an_answer_is_refused(lines: tuple[bytes, ...]) -> None:
    with pytest.raises(Nonsense):
        head(*lines).framing("POST")


@pytest.mark.parametrize(
    "first",
    [b"", b"HTTP/2 200", b"HTTP/1.1 20", b"HTTP/1.1 2000", b"HTTP/1.1 abc", b"SSH-2.0", b"HTTP/1.1 099 x"],
)
def test_what_is_no_status_line_is_refused(first: bytes) -> None:
    with pytest.raises(Nonsense):
        head(first=first)


def test_answers_with_one_head_share_what_was_read_of_it_and_nothing_else() -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 3"
    one, other = head_of(head), head_of(head)
    first, second = one.framing("POST"), other.framing("POST")
    first.feed(b"abc")
    assert one is other
    assert (first.done, second.done) == (True, False)


def test_a_head_that_is_refused_is_refused_each_time() -> None:
    for _ in range(2):
        with pytest.raises(Nonsense):
            head_of(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2").framing("POST")

"""Server-sent events read from pieces of any size: same output, same usage, same parameters."""

from itertools import pairwise

import orjson
from hypothesis import given
from hypothesis import strategies as st

from pdscale.engines.answers import StreamReader

PARAMS = {"do_remote_decode": True, "remote_block_ids": [[1, 2]]}


def event(thing: object) -> bytes:
    return b"data: " + orjson.dumps(thing) + b"\n\n"


texts = st.text(max_size=20)
tokens = st.builds(lambda text: event({"choices": [{"delta": {"content": text}}]}), texts)


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    events = draw(st.lists(tokens, max_size=6))
    if draw(st.booleans()):
        events.append(event({"choices": [{"finish_reason": "stop"}], "kv_transfer_params": PARAMS}))
    if draw(st.booleans()):
        events.append(event({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3}}))
    if draw(st.booleans()):
        events.append(event({"error": {"message": "m"}}))
    if draw(st.booleans()):
        events.append(b": a comment\n\n")
    events.append(b"data: [DONE]\n\n")
    return b"".join(events)


def read(pieces: list[bytes], *, hide: bool) -> tuple[bytes, StreamReader]:
    reader = StreamReader(hide_usage=hide)
    return b"".join(reader.feed(piece) for piece in pieces) + reader.flush(), reader


@given(streams(), st.booleans(), st.lists(st.integers(0, 2000), max_size=20))
def test_a_stream_split_anywhere_reads_the_same(stream: bytes, hide: bool, cuts: list[int]) -> None:
    places = sorted({cut % (len(stream) + 1) for cut in cuts} | {0, len(stream)})
    pieces = [stream[a:b] for a, b in pairwise(places)]
    one, whole = read([stream], hide=hide)
    two, parts = read(pieces, hide=hide)
    assert one == two
    assert b"kv_transfer_params" not in two
    for name in ("usage", "params", "done", "failed", "events"):
        assert getattr(parts, name) == getattr(whole, name), name

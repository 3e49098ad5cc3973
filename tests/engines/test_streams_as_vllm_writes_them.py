"""Events as vLLM 0.33 writes them: the field for transfer parameters in each, nearly always null."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdscale.engines.answers import StreamReader, read_json

TOKEN = (
    b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null,"token_ids":null}],'
    b'"kv_transfer_params":null}\n\n'
)
CLEAN = TOKEN.replace(b',"kv_transfer_params":null', b"")
LAST = (
    b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"b"},"finish_reason":"length"}],'
    b'"kv_transfer_params":{"remote_num_tokens":7}}\n\n'
)


def test_the_null_is_cut_out_of_the_bytes_and_the_rest_stays_as_it_was() -> None:
    reader = StreamReader()
    assert reader.feed(TOKEN) == CLEAN
    assert reader.feed(TOKEN + TOKEN) == CLEAN + CLEAN
    assert (reader.events, reader.params) == (3, None)


@given(st.integers(1, 2 * len(TOKEN) + len(LAST) - 1), st.integers(1, 200))
def test_wherever_a_stream_is_split_no_client_sees_the_field(first: int, step: int) -> None:
    stream = TOKEN + TOKEN + LAST
    reader = StreamReader()
    pieces = [stream[:first], *(stream[i : i + step] for i in range(first, len(stream), step))]
    got = b"".join(reader.feed(piece) for piece in pieces) + reader.flush()
    assert b"transfer_params" not in got
    assert [json.loads(e[6:])["choices"][0]["delta"] for e in got.split(b"\n\n")[:-1]] == [
        {"content": "a"},
        {"content": "a"},
        {"content": "b"},
    ]
    assert reader.params == {"remote_num_tokens": 7}


def test_words_that_look_like_the_field_are_left_alone() -> None:
    said = {"choices": [{"delta": {"content": 'x,"kv_transfer_params":null'}}]}
    event = b"data: " + json.dumps(said, separators=(",", ":")).encode() + b"\n\n"
    assert b"".join([StreamReader().feed(event)]) == event


@pytest.mark.parametrize("name", ["kv_transfer_params", "ec_transfer_params"])
def test_an_answer_in_one_piece_shows_no_transfer_field_even_if_it_is_null(name: str) -> None:
    reading = read_json(json.dumps({"id": "c", "usage": None, name: None}).encode())
    assert json.loads(reading.content) == {"id": "c", "usage": None}
    assert reading.params is None

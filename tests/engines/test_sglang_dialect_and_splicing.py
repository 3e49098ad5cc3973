"""What both legs of a round on SGLang look like, and how fields get into a client's bytes."""

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdscale.engines.dialects import VLLM, Dialect, SGLang
from pdscale.engines.splice import splice

CHAT = "/v1/chat/completions"
BODY: dict[str, Any] = {"model": "m", "messages": [], "stream": True, "max_tokens": 100}


def test_both_legs_are_the_clients_body_and_the_place_to_meet() -> None:
    dialect = SGLang()
    meeting = dialect.meeting("10.0.0.7", random.Random(1))
    assert meeting is not None
    room = meeting["bootstrap_room"]
    fields = {"bootstrap_host": "10.0.0.7", "bootstrap_port": 8998, "bootstrap_room": room}
    assert dialect.prefill_leg(BODY, meeting) == dialect.decode_leg(BODY, meeting) == {**BODY, **fields}
    assert dialect.decode_fields(meeting) == fields
    assert "bootstrap_room" not in BODY


def test_rooms_are_fresh_fit_the_engines_number_and_are_never_its_own_zero() -> None:
    rng = random.Random(2)
    rooms = [(SGLang().meeting("h", rng) or {})["bootstrap_room"] for _ in range(1000)]
    assert len(set(rooms)) == 1000
    # A batch of prompts takes the rooms that follow.
    assert all(room > 0 and room + 2**16 < 2**63 for room in rooms)
    assert max(rooms) > 2**62


@pytest.mark.parametrize(
    ("dialect", "at_once", "local"), [(SGLang(), True, False), (VLLM(), False, True)], ids=["sglang", "vllm"]
)
def test_a_router_learns_from_the_dialect_how_rounds_go(dialect: Dialect, at_once: bool, local: bool) -> None:
    assert (dialect.both_at_once, dialect.local_possible) == (at_once, local)
    assert (dialect.meeting("h", random.Random(1)) is not None) is at_once


@pytest.mark.parametrize(
    ("path", "body", "can"),
    [
        (CHAT, BODY, True),
        ("/v1/completions", {"prompt": ["x", "y"]}, True),
        ("/v1/completions", {"prompt": "x", "echo": True}, True),
        ("/v1/completions", {"prompt": "x", "echo": True, "logprobs": 1}, False),
        (CHAT, {"n": 2}, False),
        ("/v1/completions", {"prompt": "x", "best_of": 2}, False),
        ("/v1/embeddings", {"input": "x"}, False),
    ],
)
def test_what_can_be_split(path: str, body: dict[str, object], can: bool) -> None:
    assert SGLang().splittable(path, body) is can


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(st.text(), values, max_size=5),
    st.dictionaries(st.sampled_from(["kv_transfer_params", "bootstrap_room"]), values),
    st.sampled_from(["", " ", "\n\t "]),
    st.sampled_from([None, 2]),
)
def test_splicing_is_adding_and_leaves_the_clients_bytes(
    body: dict[str, Any], fields: dict[str, Any], space: str, indent: int | None
) -> None:
    text = space + json.dumps(body, indent=indent) + space
    spliced = splice(text.encode(), fields)
    assert json.loads(spliced) == {**fields, **body}
    assert spliced.endswith(text.lstrip()[1:].encode())


@pytest.mark.parametrize("content", [b"", b"[]", b'"{}"'])
def test_only_objects_take_fields(content: bytes) -> None:
    with pytest.raises(ValueError, match="must be a JSON object, got"):
        splice(content, {"a": 1})

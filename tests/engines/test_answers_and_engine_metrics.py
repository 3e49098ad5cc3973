"""What is read from answers and from an engine's metrics."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdscale.engines.answers import (
    ErrorEvent,
    StreamReader,
    Usage,
    asking_for_usage,
    error_event,
    read_json,
    wants_usage,
)
from pdscale.engines.metrics import parse_load
from pdscale.model.cluster import Load
from pdscale.model.workload import NoData

USAGE = {
    "prompt_tokens": 7,
    "completion_tokens": 3,
    "prompt_tokens_details": {"cached_tokens": 5},
}
LAST = {"choices": [{"finish_reason": "stop"}], "kv_transfer_params": {"remote_block_ids": [[1]]}}


def event(thing: object) -> bytes:
    return b"data: " + json.dumps(thing).encode() + b"\n\n"


TOKEN = event({"choices": [{"delta": {"content": 'say \\"usage\\" and "kv_transfer_params"'}}]})
STREAM = TOKEN + TOKEN + event(LAST) + event({"choices": [], "usage": USAGE}) + b"data: [DONE]\n\n"
CLEANED = TOKEN + TOKEN + b'data: {"choices":[{"finish_reason":"stop"}]}\n\n'


@given(st.lists(st.integers(0, len(STREAM)), max_size=20), st.booleans())
def test_however_a_stream_is_cut_the_client_gets_the_same_bytes(cuts: list[int], hide: bool) -> None:
    reader, got = StreamReader(hide_usage=hide), b""
    edges = [0, *sorted(cuts), len(STREAM)]
    for start, end in pairwise(edges):
        got += reader.feed(STREAM[start:end])
    got += reader.flush()
    usage_event = b"" if hide else event({"choices": [], "usage": USAGE})
    assert got == CLEANED + usage_event + b"data: [DONE]\n\n"
    assert reader.usage == Usage(7, 3, 5)
    assert reader.params == {"remote_block_ids": [[1]]}
    assert reader.done
    assert not reader.failed


def test_events_of_no_interest_pass_as_they_are() -> None:
    odd = b'data:  {"choices" : [ ] , "x":1.10}\n\n: comment\n\n'
    assert StreamReader(hide_usage=True).feed(odd) == odd


def test_an_unfinished_event_waits_for_its_rest_and_comes_out_at_the_end() -> None:
    reader = StreamReader()
    assert reader.feed(b"data: {") == b""
    assert reader.flush() == b"data: {"


def test_an_error_event_is_noticed() -> None:
    reader = StreamReader()
    reader.feed(TOKEN + b'data: {"error": {"message": "x"}}\n\n')
    assert reader.failed


@pytest.mark.parametrize(
    ("stream", "found"),
    [
        pytest.param(
            b'data: {"error": {"code": 400}}\n\n', (400, b'{"error": {"code": 400}}'), id="its code"
        ),
        pytest.param(
            b'data: {"error": {"code": "x"}}\r\n\r\n', (500, b'{"error": {"code": "x"}}'), id="none"
        ),
        pytest.param(
            b'data: {"error": {"code": 200}}', (500, b'{"error": {"code": 200}}'), id="no error code"
        ),
        pytest.param(b'data: {"error": "cut of', (500, b'{"error": "cut of'), id="unreadable"),
        pytest.param(b'data: {"a": 1}\n\ndata: {"error": {}}\n\n', (500, b'{"error": {}}'), id="later"),
        pytest.param(b'data: {"choices": ["data: {\\"error\\"}"]}\n\n', None, id="in a text"),
        pytest.param(b"", None, id="nothing"),
    ],
)
def test_an_error_in_the_place_of_events_is_read(stream: bytes, found: tuple[int, bytes] | None) -> None:
    assert error_event(stream) == (None if found is None else ErrorEvent(*found))


def test_an_unstreamed_answer_changes_only_where_it_must() -> None:
    plain = b'{ "choices": [],  "usage": {"prompt_tokens": 7, "completion_tokens": 3} }'
    assert read_json(plain).content == plain
    assert read_json(plain).usage == Usage(7, 3)
    reading = read_json(json.dumps({**LAST, "usage": USAGE}).encode())
    assert b"kv_transfer_params" not in reading.content
    assert reading.params == {"remote_block_ids": [[1]]}
    assert read_json(b'"usage" but no JSON').content == b'"usage" but no JSON'
    assert read_json(b'{"kv_transfer_params": null}').params is None


def test_usage_is_asked_for_beside_what_the_client_asked_for() -> None:
    assert not wants_usage({})
    assert not wants_usage({"stream_options": None})
    asked = asking_for_usage({"stream_options": {"continuous_usage_stats": True}})
    assert asked["stream_options"] == {"continuous_usage_stats": True, "include_usage": True}
    assert wants_usage(asked)


METRICS = """# HELP vllm:num_requests_running x
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="a } b"} 3.0
vllm:num_requests_running{engine="1",model_name="a } b"} 2.0
vllm:num_requests_waiting{engine="0",model_name="m"} 1.0
vllm:num_requests_waiting_by_reason{engine="0",reason="capacity"} 9.0
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.25
vllm:kv_cache_usage_perc{engine="1",model_name="m"} 0.75
process_cpu_seconds_total 4.0
"""


def test_figures_of_all_ranks_add_up() -> None:
    assert parse_load(METRICS, now=9.0) == Load(running=5, waiting=1, kv_usage=0.5, seen_at=9.0)


SGLANG = """sglang:num_running_reqs{engine_type="dynamic",tp_rank="0",dp_rank="0"} 3.0
sglang:num_running_reqs{engine_type="dynamic",tp_rank="0",dp_rank="1"} 2.0
sglang:num_queue_reqs{engine_type="dynamic",tp_rank="0"} 1.0
sglang:num_decode_prealloc_queue_reqs{engine_type="dynamic",tp_rank="0"} 4.0
sglang:num_decode_transfer_queue_reqs{engine_type="dynamic",tp_rank="0"} 2.0
sglang:token_usage{engine_type="dynamic",tp_rank="0"} 0.25
"""


def test_sglangs_queues_of_legs_that_wait_for_their_other_leg_count_as_waiting() -> None:
    assert parse_load(SGLANG, now=9.0) == Load(running=5, waiting=7, kv_usage=0.25, seen_at=9.0)
    plain = "\n".join(line for line in SGLANG.splitlines() if "_decode_" not in line)
    assert parse_load(plain, now=9.0) == Load(running=5, waiting=1, kv_usage=0.25, seen_at=9.0)


def test_figures_by_priority_are_not_counted_beside_those_in_all() -> None:
    text = SGLANG.replace('tp_rank="0"', 'tp_rank="0",priority=""')
    text += SGLANG.replace('tp_rank="0"', 'tp_rank="0",priority="7"')
    assert parse_load(text, now=9.0) == Load(running=5, waiting=7, kv_usage=0.25, seen_at=9.0)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param(SGLANG.replace("token_usage", "gone"), id="missing on SGLang"),
        pytest.param(METRICS.replace("kv_cache_usage_perc", "gone"), id="missing"),
        pytest.param(METRICS.replace(" 0.75", " NaN"), id="not a number"),
        pytest.param(METRICS.replace(" 3.0", ""), id="cut off"),
    ],
)
def test_gaps_are_no_data(text: str) -> None:
    assert isinstance(parse_load(text, now=0), NoData)

"""Transfer fields on the wire, rule by rule, and what is kept from whom."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdscale.engines.dialects import (
    VLLM,
    EngineType,
    SGLang,
    dialect_of,
    usable_for_decode,
    usable_for_prefill,
)
from pdscale.engines.errors import UnreadableBody
from pdscale.engines.hygiene import answer_headers, clean_body, client_headers, json_object, needs_cleaning
from pdscale.engines.ledger import Clocks, Ledger

CHAT = "/v1/chat/completions"
BODY = {
    "model": "m",
    "messages": [],
    "stream": True,
    "stream_options": {"include_usage": True},
    "max_tokens": 100,
    "max_completion_tokens": 100,
    "min_tokens": 3,
    "min_completion_tokens": 3,
    "temperature": 0.5,
}


def test_the_first_prefill_leg_asks_for_one_token_and_nothing_else() -> None:
    assert VLLM().prefill_leg(BODY, None) == {
        "model": "m",
        "messages": [],
        "stream": False,
        "max_tokens": 1,
        "max_completion_tokens": 1,
        "temperature": 0.5,
        "kv_transfer_params": {
            "do_remote_decode": True,
            "do_remote_prefill": False,
            "remote_engine_id": None,
            "remote_block_ids": None,
            "remote_host": None,
            "remote_port": None,
        },
    }
    assert "max_completion_tokens" not in VLLM().prefill_leg({"max_tokens": 9}, None)


@pytest.mark.parametrize("from_local_round", [True, False])
def test_a_history_goes_to_the_prefill_leg_with_its_flags_set(from_local_round: bool) -> None:
    handed = {
        "do_remote_prefill": from_local_round,
        "do_remote_decode": not from_local_round,
        "remote_block_ids": [[4]],
        "a_field_of_next_year": 1,
    }
    sent = VLLM().prefill_leg(BODY, handed)["kv_transfer_params"]
    assert sent == {**handed, "do_remote_decode": True, "do_remote_prefill": False}
    assert handed["do_remote_prefill"] is from_local_round


def test_the_decode_leg_is_the_clients_body_and_the_parameters() -> None:
    params = {"do_remote_prefill": True, "remote_block_ids": [[4]]}
    assert VLLM().decode_leg(BODY, params) == {**BODY, "kv_transfer_params": params}
    assert "kv_transfer_params" not in BODY


def test_a_local_round_asks_for_parameters_only_where_they_can_be_used() -> None:
    flags = {"do_remote_decode": True, "do_remote_prefill": False}
    assert VLLM(bidirectional=True).local_round(BODY)["kv_transfer_params"] == flags
    assert VLLM(bidirectional=False).local_round(BODY) is BODY


@pytest.mark.parametrize(
    ("path", "body", "can"),
    [
        (CHAT, BODY, True),
        ("/v1/completions", {"prompt": "x"}, True),
        ("/v1/completions", {"prompt": [1, 2, 3]}, True),
        ("/v1/completions", {"prompt": ["x", "y"]}, False),
        ("/v1/completions", {"prompt": "x", "echo": True}, False),
        (CHAT, {"n": 2}, False),
        (CHAT, {"use_beam_search": True}, False),
        (CHAT, {"prompt_logprobs": 1}, False),
        ("/v1/embeddings", {"input": "x"}, False),
    ],
)
def test_what_can_be_split(path: str, body: dict[str, object], can: bool) -> None:
    assert VLLM().splittable(path, body) is can


def test_parameters_that_would_kill_or_mislead_an_engine_are_not_usable() -> None:
    good = {"do_remote_prefill": True, "remote_block_ids": [[1]]}
    assert usable_for_decode(good)
    assert usable_for_decode({**good, "remote_block_ids": []})  # a prompt below one block
    assert not usable_for_decode({"do_remote_prefill": True})
    assert not usable_for_decode({**good, "do_remote_prefill": False})
    assert not usable_for_decode(None)
    assert usable_for_prefill(good)
    assert not usable_for_prefill({"do_remote_decode": True, "remote_block_ids": []})


def test_every_engine_type_has_its_dialect() -> None:
    assert dialect_of(EngineType.VLLM, bidirectional=False) == VLLM(bidirectional=False)
    assert dialect_of(EngineType.EMULATED, bidirectional=True) == VLLM(bidirectional=True)
    assert dialect_of(EngineType.SGLANG) == SGLang(8998)
    assert dialect_of(EngineType.SGLANG, bootstrap_port=9000) == SGLang(9000)


OURS = (
    "kv_transfer_params",
    "ec_transfer_params",
    "bootstrap_host",
    "bootstrap_port",
    "bootstrap_room",
    "bootstrap_pair_key",
    "data_parallel_rank",
    "routed_dp_rank",
    "disagg_prefill_dp_rank",
    "kv_hints",
)
names = st.sampled_from([*OURS, "messages", "n", "priority"])


@given(st.dictionaries(names, st.integers()))
def test_cleaning_takes_out_the_routers_fields_and_no_other(body: dict[str, int]) -> None:
    kept = clean_body(body)
    assert set(kept) == set(body) - set(OURS)
    assert needs_cleaning(body) is (kept != body)


def test_parameters_cannot_be_smuggled_in_by_extra_arguments() -> None:
    # vLLM's schema takes a text there, and the engine dies of it.
    body = {"prompt": "x", "vllm_xargs": {"kv_transfer_params": "x", "ec_transfer_params": 1, "mine": 2}}
    assert needs_cleaning(body)
    assert clean_body(body) == {"prompt": "x", "vllm_xargs": {"mine": 2}}
    assert not needs_cleaning({"vllm_xargs": {"mine": 2}})
    assert not needs_cleaning({"vllm_xargs": "nonsense"})


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b'{"top_p": NaN, "kv_transfer_params": {}}', id="not a number"),
        pytest.param('{"kv_transfer_params": {}}'.encode("utf-16"), id="utf-16"),
        pytest.param(b"[]", id="no object"),
        pytest.param(b"{", id="cut off"),
    ],
)
def test_what_cannot_be_read_cannot_be_cleaned_and_is_refused(content: bytes) -> None:
    # Python's own parser, which engines use, reads the first two.
    with pytest.raises(UnreadableBody, match="the body must be"):
        json_object(content)


def test_a_name_is_recognised_however_it_is_spelled() -> None:
    assert needs_cleaning(json_object(b'{"kv\\u005ftransfer_params": {}}'))


def test_headers_that_steer_engines_are_not_a_clients_to_set() -> None:
    sent = {
        "Authorization": "Bearer x",
        "X-Override-Rid": "1",
        "x-prefiller-host-port": "h:1",
        "X-Data-Parallel-Rank": "1",
        "X-Data-Parallel-Host-Port": "h:1",
        "X-Override-Bootstrap-Room": "1",
        "X-Encoder-Hosts-Ports": "h:1",
        "X-KV-Cache-Source-Host-Port": "h:1",
        "X-Gateway-Destination-Endpoint": "h:1",
        "X-Gateway-Destination-Endpoint-Subset": "h:1",
        "X-PDScale-Leg": "prefill",
        "Host": "h",
        "Content-Length": "3",
        "Accept-Encoding": "gzip",
        "X-Request-Id": "r",
    }
    assert dict(client_headers(sent.items())) == {"Authorization": "Bearer x", "X-Request-Id": "r"}


def test_what_an_answer_tells_of_the_inside_stays_inside() -> None:
    got = {"Content-Type": "text/plain", "x-pdscale-load": "running=1", "Server": "uvicorn"}
    assert dict(answer_headers(got.items())) == {"Content-Type": "text/plain"}


AT = Clocks(monotonic=100.0, wall=1_700_000_000.0)


@pytest.mark.parametrize(
    ("expiry", "lasts"),
    [
        pytest.param(None, 28, id="no expiry: the lease"),
        pytest.param(AT.wall + 480, 478, id="wall clock"),
        pytest.param(AT.monotonic + 480, 478, id="monotonic clock"),
        pytest.param(5e12, 28, id="neither"),
        pytest.param("soon", 28, id="no number"),
    ],
)
def test_parameters_last_until_shortly_before_the_engine_lets_go(expiry: object, lasts: float) -> None:
    ledger = Ledger(lease=30, margin=2)
    ledger.keep("s", {"remote_blocks_expiry_time": expiry}, AT)
    assert ledger.has("s", AT.monotonic + lasts - 0.1)
    assert not ledger.has("s", AT.monotonic + lasts + 0.1)
    assert ledger.take("s", AT.monotonic + lasts + 0.1) is None


def test_parameters_are_given_out_once() -> None:
    ledger = Ledger()
    ledger.keep("s", {"a": 1}, AT)
    ledger.keep("s", {"a": 2}, AT)
    assert ledger.take("s", AT.monotonic) == {"a": 2}
    assert ledger.take("s", AT.monotonic) is None


def test_the_ledger_is_bounded() -> None:
    ledger = Ledger(capacity=2)
    for name in "abc":
        ledger.keep(name, {}, AT)
    assert (len(ledger), ledger.has("a", AT.monotonic)) == (2, False)

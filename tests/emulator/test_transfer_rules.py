from typing import Any

import pytest

from pdscale.emulator.transfer import (
    BadTransferParams,
    Origin,
    TransferConfig,
    hand_out,
    leaves_blocks,
    parse_params,
    tokens_to_load,
    will_be_read,
)

ONE_WAY, BOTH_WAYS = TransferConfig(), TransferConfig(bidirectional=True)


def handed(*, prefill: bool, tokens: int = 100) -> dict[str, Any]:
    origin = Origin("engine-1", "10.0.0.7", 5600)
    return hand_out(origin, "r-1", prefill=prefill, blocks=[3, 4], tokens=tokens, expires=500.0, cached=32)


def test_a_prefill_leg_hands_out_every_field_of_the_contract() -> None:
    assert handed(prefill=True) == {
        "do_remote_prefill": True,
        "do_remote_decode": False,
        "remote_block_ids": [[3, 4]],
        "remote_engine_id": "engine-1",
        "remote_request_id": "r-1",
        "remote_host": "10.0.0.7",
        "remote_port": 5600,
        "tp_size": 1,
        "dcp_size": 1,
        "pp_size": 1,
        "remote_num_tokens": 100,
        "remote_blocks_expiry_time": None,
        "remote_registration_generation": 0,
        "transfer_mode": "pull",
        "remote_prefill_cached_tokens": 32,
    }


def test_a_decode_leg_hands_out_the_opposite_flags_and_an_expiry() -> None:
    params = handed(prefill=False)
    assert (params["do_remote_prefill"], params["do_remote_decode"]) == (False, True)
    assert params["remote_blocks_expiry_time"] == 500.0
    assert "remote_prefill_cached_tokens" not in params


@pytest.mark.parametrize("raw", [None, {}])
def test_no_parameters_and_empty_ones_are_the_same(raw: object) -> None:
    assert parse_params(raw) is None


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ("text", "must be an object, got str"),
        ({"remote_block_ids": ["x"]}, "remote_block_ids must be lists of block ids"),
        ({"remote_block_ids": [[-1]]}, "remote_block_ids must be lists of block ids"),
        ({**handed(prefill=True), "remote_num_tokens": "9"}, "remote_num_tokens must be a number"),
    ],
)
def test_nonsense_is_refused_by_name(raw: object, message: str) -> None:
    with pytest.raises(BadTransferParams, match=message):
        parse_params(raw)


def test_a_decode_leg_loads_all_that_it_lacks() -> None:
    params = parse_params(handed(prefill=True))
    assert params is not None
    assert tokens_to_load(params, BOTH_WAYS, prompt=100, have=0) == 100
    assert tokens_to_load(params, BOTH_WAYS, prompt=100, have=96) == 4


@pytest.mark.parametrize(
    ("prompt", "have", "loaded"),
    [
        pytest.param(180, 0, 100, id="the history, not the increment"),
        pytest.param(80, 0, 80, id="no more than the prompt"),
        pytest.param(180, 36, 64, id="at the threshold it still pays"),
        pytest.param(180, 37, 0, id="below it is computed"),
        pytest.param(180, 144, 0, id="nothing is missing"),
    ],
)
def test_a_prefill_leg_loads_the_history_if_that_pays(prompt: int, have: int, loaded: int) -> None:
    params = parse_params({**handed(prefill=False), "do_remote_decode": True})
    assert params is not None
    assert tokens_to_load(params, BOTH_WAYS, prompt=prompt, have=have) == loaded


def test_history_is_promised_but_not_fetched_where_transfers_go_one_way() -> None:
    params = parse_params(handed(prefill=False))
    assert params is not None
    assert tokens_to_load(params, ONE_WAY, prompt=180, have=0) == 100
    assert not will_be_read(params, ONE_WAY)
    assert will_be_read(params, BOTH_WAYS)


@pytest.mark.parametrize("missing", ["remote_engine_id", "remote_request_id", "remote_host", "remote_port"])
def test_blocks_that_cannot_be_addressed_are_not_read(missing: str) -> None:
    raw = handed(prefill=True)
    del raw[missing]
    params = parse_params(raw)
    assert params is not None
    assert params.names_blocks
    assert not will_be_read(params, BOTH_WAYS)


@pytest.mark.parametrize(
    ("raw", "one_way", "both_ways"),
    [
        pytest.param(None, False, False, id="plain"),
        pytest.param({"do_remote_decode": True}, True, True, id="prefill leg or local round"),
        pytest.param(handed(prefill=True), False, True, id="decode leg"),
        pytest.param({"do_remote_decode": False}, False, True, id="both flags false"),
    ],
)
def test_blocks_stay_pinned_after(raw: object, one_way: bool, both_ways: bool) -> None:
    params = parse_params(raw)
    assert (leaves_blocks(params, ONE_WAY), leaves_blocks(params, BOTH_WAYS)) == (one_way, both_ways)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lease": 0.0}, "kv_lease_duration must be above 0s, got 0.0s"),
        ({"decoder_blocks_ttl": -1.0}, "decoder_kv_blocks_ttl must be above 0s"),
        ({"recompute_threshold": -1}, "kv_recompute_threshold must be at least 0, got -1"),
    ],
)
def test_impossible_settings_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TransferConfig(**change)

"""Only KV of words that the next prompt is sure to begin with moves to a prefill engine."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdscale.engines.history import block_size, only_the_prompt


def params(tokens: int, blocks: int, **changes: Any) -> dict[str, Any]:
    handed = {"remote_num_tokens": tokens, "remote_block_ids": [list(range(100, 100 + blocks))]}
    return {**handed, "do_remote_decode": True, "dcp_size": 1, **changes}


def test_the_answer_and_what_opens_it_are_left_out() -> None:
    # 300 tokens of prompt, 40 of answer; (300 - 16) // 32 = 8 whole blocks.
    assert only_the_prompt(params(339, 11), 300) == params(339, 11) | {
        "remote_num_tokens": 256,
        "remote_block_ids": [list(range(100, 108))],
    }


@pytest.mark.parametrize(
    ("handed", "prompt"),
    [
        pytest.param(params(339, 11), 40, id="less_than_a_block"),
        pytest.param(params(100, 7), 90, id="too_short_to_tell_the_block_size"),
        pytest.param(params(4800, 100), 4700, id="blocks_of_48"),
        pytest.param(params(339, 11, remote_block_ids=[[1] * 11, [2] * 3]), 300, id="two_kinds_of_layers"),
        pytest.param(params(339, 11, dcp_size=2), 300, id="shared_by_two"),
        pytest.param(params(339, 11, remote_num_tokens=None), 300, id="no_number_of_tokens"),
        pytest.param(params(339, 11, remote_block_ids=[]), 300, id="no_blocks"),
    ],
)
def test_what_cannot_be_cut_safely_is_not_handed_on(handed: dict[str, Any], prompt: int) -> None:
    assert only_the_prompt(handed, prompt) is None


@given(
    size=st.sampled_from((8, 16, 32, 64, 128, 256)),
    tokens=st.integers(1, 200_000),
    spare=st.integers(0, 2),
)
def test_the_size_of_blocks_is_never_guessed_wrong(size: int, tokens: int, spare: int) -> None:
    assert block_size(tokens, -(-tokens // size) + spare) in (size, None)


@given(prompt=st.integers(1, 5000), answer=st.integers(1, 500), size=st.sampled_from((16, 32, 64)))
def test_blocks_and_tokens_match_and_no_token_is_of_the_answer(prompt: int, answer: int, size: int) -> None:
    tokens = prompt + answer - 1
    found = only_the_prompt(params(tokens, -(-tokens // size)), prompt)
    if found is not None:
        assert found["remote_num_tokens"] <= prompt - 16
        assert len(found["remote_block_ids"][0]) * size == found["remote_num_tokens"]

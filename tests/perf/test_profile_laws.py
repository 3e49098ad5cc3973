"""The performance model: worked numbers, and what must hold whatever was measured."""

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pdscale.perf.builtin import BUILTIN
from pdscale.perf.profile import Profile, Segment

PROFILE = Profile(
    name="round",
    source="made up",
    prefill=(Segment(1000, 0.010, 20e-6, 1e-9), Segment(math.inf, 0.005, 25e-6, 1e-9)),
    decode=(Segment(math.inf, 0.004, 30e-6, 40e-9),),
    kv_capacity=100_000,
    kv_bytes_per_token=100_000,
    transfer_bandwidth=10e9,
    transfer_fixed=0.005,
)

names = st.sampled_from(sorted(BUILTIN))
tokens = st.integers(1, 8000)


def test_a_prefill_pays_for_its_tokens_and_for_what_they_look_at() -> None:
    # 10 ms + 1000 * 20 us + 1000 * (4000 + 500) pairs * 1 ns = 10 + 20 + 4.5 ms
    assert PROFILE.prefill_seconds(1000, 4000) == pytest.approx(0.0345)
    # one token more falls into the next piece: 5 ms + 1001 * 25 us + ...
    assert PROFILE.prefill_seconds(1001) == pytest.approx(0.005 + 0.025025 + 1001 * 500.5e-9)


def test_a_step_pays_for_its_sequences_and_their_contexts() -> None:
    # 4 ms + 10 * 30 us + 20_000 * 40 ns = 4 + 0.3 + 0.8 ms
    assert PROFILE.step_seconds(10, 20_000) == pytest.approx(0.0051)


def test_a_transfer_pays_for_its_bytes() -> None:
    # 5 ms + 2000 * 100 kB / 10 GB/s = 5 + 20 ms
    assert PROFILE.transfer_seconds(2000) == pytest.approx(0.025)


def test_a_mixed_iteration_reads_the_weights_once() -> None:
    # prefill of 100 + 10 tokens, 10 ms + 2.2 ms + 5050 pairs (100 * 50 + 10 * 5), and the attention
    # of the decodes, 0.8 ms. Prefill and step apart would be 12.005 + 5.1 ms.
    mixed = PROFILE.iteration_seconds([(100, 0)], batch=10, context=20_000)
    assert mixed == pytest.approx(0.010 + 0.0022 + 5050e-9 + 0.0008)


def test_nothing_to_do_takes_no_time() -> None:
    assert PROFILE.prefill_seconds(0, 500) == 0
    assert PROFILE.prefill_batch_seconds([]) == 0
    assert PROFILE.step_seconds(0, 0) == 0
    assert PROFILE.transfer_seconds(0) == 0
    assert PROFILE.iteration_seconds([(0, 9)], batch=0, context=0) == 0


@settings(deadline=None)
@given(names, tokens, st.integers(1, 64), st.integers(1, 200_000))
def test_a_mixed_iteration_is_no_shorter_than_its_step(name: str, new: int, batch: int, context: int) -> None:
    profile = BUILTIN[name]
    step = profile.step_seconds(batch, context)
    mixed = profile.iteration_seconds([(new, 0)], batch=batch, context=context)
    assert mixed >= step
    assert profile.iteration_seconds([], batch=batch, context=context) == step
    alone = profile.iteration_seconds([(new, 0)], batch=0, context=0)
    assert alone == profile.prefill_seconds(new)


@settings(deadline=None)
@given(names, tokens, st.integers(0, 50_000), st.integers(1, 50_000))
def test_more_history_never_makes_a_prefill_shorter(name: str, new: int, history: int, more: int) -> None:
    profile = BUILTIN[name]
    assert profile.prefill_seconds(new, history) <= profile.prefill_seconds(new, history + more)


@settings(deadline=None)
@given(names, st.data())
def test_within_a_piece_more_tokens_take_longer(name: str, data: st.DataObject) -> None:
    profile = BUILTIN[name]
    first = 1
    for piece in profile.prefill:
        last = int(min(piece.up_to, 20_000))
        fewer, more = sorted(data.draw(st.tuples(*[st.integers(first, last)] * 2)))
        assert profile.prefill_seconds(fewer) <= profile.prefill_seconds(more)
        first = last + 1


@settings(deadline=None)
@given(names, st.lists(st.tuples(tokens, st.integers(0, 20_000)), min_size=2, max_size=4))
def test_the_order_of_a_batch_does_not_matter(name: str, chunks: list[tuple[int, int]]) -> None:
    profile = BUILTIN[name]
    forwards = profile.prefill_batch_seconds(chunks)
    assert forwards == pytest.approx(profile.prefill_batch_seconds(reversed(chunks)))


@settings(deadline=None)
@given(names, st.integers(1, 256), st.integers(0, 200_000), st.integers(0, 100_000))
def test_longer_contexts_never_make_a_step_shorter(name: str, batch: int, context: int, more: int) -> None:
    profile = BUILTIN[name]
    assert profile.step_seconds(batch, context) <= profile.step_seconds(batch, context + more)


@pytest.mark.parametrize("name", sorted(BUILTIN))
def test_built_in_profiles_are_of_a_believable_size(name: str) -> None:
    profile = BUILTIN[name]
    assert profile.name == name
    assert profile.source
    assert 0.002 < profile.step_seconds(1, 1000) < 0.1
    assert 0.01 < profile.prefill_seconds(2000) < 1
    assert profile.step_seconds(1, 1000) < profile.prefill_seconds(2000)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prefill": ()}, "prefill must end with an open segment"),
        ({"decode": (Segment(9, 0, 0, 0),)}, "decode must end with an open segment"),
        (
            {"decode": (Segment(math.inf, 0, 0, 0), Segment(math.inf, 0, -1, 0))},
            "slopes at least 0, got",
        ),
        (
            {"prefill": (Segment(9, 0, 0, 0), Segment(8, 0, 0, 0), Segment(math.inf, 0, 0, 0))},
            "prefill segments must be in ascending order",
        ),
        ({"kv_capacity": 0}, "kv_capacity must be above 0, got 0"),
        ({"transfer_bandwidth": math.inf}, "transfer_bandwidth must be above 0, got inf"),
        ({"max_sequences": 0}, "max_sequences must be at least 1, got 0"),
    ],
)
def test_impossible_profiles_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(PROFILE, **change)

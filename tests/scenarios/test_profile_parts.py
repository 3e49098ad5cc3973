"""The parts of ``pdscale profile`` that decide: windows of steps, points, prompts, an engine's own words."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdscale.model.workload import NoData
from pdscale.scenarios.profiling.facts import Memory, busy, memory_of
from pdscale.scenarios.profiling.gaps import Window, steps_of
from pdscale.scenarios.profiling.points import (
    Bounds,
    DecodeAsk,
    PrefillAsk,
    decodes,
    in_turn,
    prefills,
)
from pdscale.scenarios.profiling.prompts import Prompts, Scale

BOUNDS = Bounds(longest=8192, one_pass=2048, kv_tokens=20_000, remembers=True)


def ticks(start: float, count: int, step: float) -> list[float]:
    return [start + i * step for i in range(count)]


def test_a_step_is_timed_only_while_all_streams_run() -> None:
    early = [*ticks(0.0, 10, 0.5), *ticks(5.0, 11, 0.1)]  # slow as long as the other one is prefilled
    late = ticks(5.0, 11, 0.1)
    steps = steps_of([early, late])
    assert steps is not None
    assert steps.seconds == pytest.approx(0.1)
    assert steps.events == (10 + 6) + 6  # until 5.5, the window's middle


def test_a_single_late_wake_up_does_not_move_the_step() -> None:
    stream = ticks(0.0, 20, 0.1)
    stream[7] += 0.09
    steps = steps_of([stream])
    assert steps is not None
    assert steps.seconds == pytest.approx(0.1)


@pytest.mark.parametrize(
    "arrivals",
    [
        pytest.param([], id="no streams"),
        pytest.param([ticks(0, 9, 1), []], id="one that never begins"),
        pytest.param([ticks(0, 9, 1), ticks(20, 9, 1)], id="one after the other"),
        pytest.param([ticks(0, 4, 1)], id="too few"),
    ],
)
def test_streams_that_do_not_run_together_say_nothing(arrivals: list[list[float]]) -> None:
    assert steps_of(arrivals) is None


def test_a_window_is_full_when_each_stream_has_its_steps_after_the_last_began() -> None:
    window = Window(2, steps=2)
    assert not any(window.note(0, t) for t in range(50))
    assert [window.note(stream, 60.0 + i) for i, stream in enumerate([1, 0, 1, 0, 1, 0])] == [False] * 5 + [
        True
    ]


def test_prefills_cross_lengths_with_histories_within_one_context() -> None:
    found = prefills(BOUNDS, prompts=(), histories=(2048, 7000))
    assert {ask.new for ask in found if not ask.history} == {32, 64, 128, 256, 512, 1024, 2048}
    assert max(ask.new + ask.history for ask in found) <= 8192
    assert PrefillAsk(1024, 7000) in found
    assert PrefillAsk(2048, 7000) not in found


def test_an_engine_that_tells_no_cached_tokens_gets_more_lengths_instead() -> None:
    forgetful = Bounds(longest=8192, one_pass=2048, kv_tokens=20_000, remembers=False)
    found = prefills(forgetful, prompts=(), histories=(2048,))
    assert len(found) == 3 * 6 + 1
    assert not any(ask.history for ask in found)


def test_streams_have_room_for_their_answers() -> None:
    found = decodes(BOUNDS, batches=(1, 4, 16), contexts=(1000, 4000, 8190), steps=24)
    assert found == [DecodeAsk(1, 1000), DecodeAsk(1, 4000), DecodeAsk(4, 1000)]  # 4 x 4024 is over 16,000


@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 9))
def test_whoever_stops_early_has_both_kinds(prefill: int, decode: int, seed: int) -> None:
    asks = in_turn(
        [PrefillAsk(i, 0) for i in range(prefill)],
        [DecodeAsk(1, i) for i in range(decode)],
        random.Random(seed),
    )
    assert len(set(asks)) == prefill + decode
    for cut in range(len(asks)):
        share = sum(isinstance(ask, PrefillAsk) for ask in asks[:cut]) / prefill
        other = sum(isinstance(ask, DecodeAsk) for ask in asks[:cut]) / decode
        assert abs(share - other) <= 1 / prefill + 1 / decode


def test_words_are_scaled_by_the_tokens_that_the_engine_counted() -> None:
    scale = Scale.of((32, 70), (160, 326))  # 2 tokens a word, 6 around
    assert scale == Scale(2.0, 6.0)
    assert scale.words(1000) == 497
    assert scale.words(1) == 1
    with pytest.raises(
        ValueError, match="a longer prompt must have more tokens, got 70 of 32 words and 70 of 160"
    ):
        Scale.of((32, 70), (160, 70))


def test_prompts_differ_from_their_first_words_on() -> None:
    prompts = Prompts(random.Random(1))
    heads = {" ".join(prompts.words(16).split()[:16]) for _ in range(200)}
    assert len(heads) == 200


CACHE = 'vllm:cache_config_info{{block_size="16",engine="{0}",num_gpu_blocks="{1}"{2}}} 1.0\n'


@pytest.mark.parametrize(
    ("metrics", "memory"),
    [
        pytest.param("", Memory(), id="nothing"),
        pytest.param(CACHE.format(0, 100, ""), Memory(1600), id="blocks"),
        pytest.param(CACHE.format(0, 100, "") + CACHE.format(1, 50, ""), Memory(2400), id="two ranks"),
        pytest.param(CACHE.format(0, 100, ',kv_cache_size_tokens="1500"'), Memory(1500), id="tokens"),
        pytest.param(CACHE.format(0, 100, ',kv_cache_memory_bytes="3200"'), Memory(1600, 2.0), id="bytes"),
        pytest.param(CACHE.format(0, 100, ',kv_cache_memory_bytes="None"'), Memory(1600), id="None"),
        pytest.param('sglang:max_total_num_tokens{model="m"} 4096.0\n', Memory(4096), id="SGLang"),
        pytest.param("sglang:max_total_num_tokens_other 4096.0\n", Memory(), id="another name"),
    ],
)
def test_kv_memory_is_read_as_each_engine_says_it(metrics: str, memory: Memory) -> None:
    assert memory_of(metrics) == memory


def test_an_engine_is_busy_with_what_runs_and_what_waits() -> None:
    text = "vllm:num_requests_running 2\nvllm:num_requests_waiting 1\nvllm:kv_cache_usage_perc 0.1\n"
    assert busy(text) == 3
    assert isinstance(busy("python_gc_objects 4\n"), NoData)

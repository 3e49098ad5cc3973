import random

import pytest

from fakes.simulated import linear
from pdscale.perf.noise import Noise
from pdscale.sim.intake import Intake
from pdscale.sim.jumps import Jump
from pdscale.sim.limits import Chunking, EngineSetup
from pdscale.sim.memory import KvMemory
from pdscale.sim.mixed import Mixed
from pdscale.sim.request import Request
from pdscale.sim.streams import Streams
from pdscale.sim.tally import Tally

QUIET = Noise(0.0, random.Random(1))


def round_of(prompt: int, output: int = 10, *, index: int = 0) -> Request:
    return Request(index, index, prompt=prompt, output=output, arrived=0.0, limit=1.0)


def batch_of(*outputs: int, context: int = 100) -> Streams:
    streams = Streams()
    for index, output in enumerate(outputs):
        streams.join(round_of(context, output, index=index), context)
    return streams


def intake_of(memory: KvMemory, *, sequences: int = 8) -> tuple[Intake, list[int]]:
    fetched: list[int] = []
    streams = Streams()
    return (
        Intake(memory, streams, sequences=sequences, fetch=lambda r, at: fetched.append(r.index)),
        fetched,
    )


def test_a_jump_goes_to_the_next_end_or_to_full_memory_or_nowhere() -> None:
    jump = Jump(linear(decode=(0.01, 0.0, 1e-5)), QUIET)
    streams = batch_of(5, 9)
    # 10 ms + 10 us for each of 200, 202, ... 208 tokens: 5 steps of 12.00 to 12.08 ms.
    assert jump.plan(streams, free=1000) == pytest.approx(0.0602)
    assert jump.left == 5
    assert jump.plan(streams, free=7) == pytest.approx(0.012 + 0.01202 + 0.01204)
    assert jump.left == 3
    assert jump.plan(streams, free=1) is None


def test_parts_of_a_jump_take_what_the_whole_takes() -> None:
    whole, parts = (Jump(linear(decode=(0.01, 0.0, 1e-5)), QUIET) for _ in range(2))
    streams = batch_of(9, 9)
    seconds = whole.plan(streams, free=1000)
    parts.plan(streams, free=1000)
    taken = [parts.take(steps, 0.01205) for steps in (4, 1, 4)]
    assert sum(s for s, _ in taken) == pytest.approx(seconds)
    assert [slow for _, slow in taken] == [1, 1, 4]  # 12.06 ms is the first above the limit
    assert parts.left == 0


def test_nobody_passes_a_prompt_that_does_not_fit_yet() -> None:
    memory = KvMemory(100)
    intake, _ = intake_of(memory)
    long, short = round_of(90, index=1), round_of(20, index=2)
    assert memory.reserve(30)
    for request in (long, short):
        intake.take(request)
    intake.prompts.append(round_of(30))  # somebody is at work, so room will come
    intake.admit(0.0)
    assert list(intake.waiting) == [long, short]
    assert intake.queued_tokens == 110
    memory.release(30)
    intake.admit(0.0)
    assert list(intake.waiting) == [short]


def test_kv_that_lies_elsewhere_is_fetched_and_joins_without_being_computed() -> None:
    intake, fetched = intake_of(KvMemory(100))
    request = round_of(60, index=3)
    request.pulls = True
    intake.take(request)
    intake.admit(0.0)
    assert fetched == [3]
    assert intake.queued_tokens == 0
    assert intake.arrived(request)
    assert intake.next_to_join() is request
    assert intake.next_to_join() is None


def test_kv_that_never_comes_is_computed_after_all() -> None:
    intake, _ = intake_of(KvMemory(100))
    request = round_of(60)
    request.pulls, request.history, request.held = True, 10, 10
    intake.take(request)
    intake.admit(0.0)
    intake.never_comes(request)
    assert intake.queued_tokens == 50
    assert not intake.computed(request, 49)
    assert intake.computed(request, 1)
    assert intake.prompts == []


def test_who_waits_last_loses_a_pinned_history_when_nobody_could_go_on() -> None:
    memory = KvMemory(100)
    intake, _ = intake_of(memory)
    rounds = [round_of(80, index=i) for i in range(2)]
    for request in rounds:
        assert memory.reserve(40)
        request.history = request.held = 40
        intake.take(request)
    intake.admit(0.0)
    assert intake.prompts == [rounds[0]]
    assert (rounds[1].history, rounds[1].held) == (0, 0)
    assert intake.queued_tokens == 40 + 80


def test_chunks_share_the_budget_in_the_order_of_arrival() -> None:
    setup = EngineSetup(linear(prefill=(0.0, 1e-4, 0.0)), max_batched_tokens=100, max_sequences=10)
    mixed = Mixed(setup, QUIET, tpot=0.02)
    prompts = [round_of(tokens, index=i) for i, tokens in enumerate((70, 50, 50))]
    seconds = mixed.plan(prompts, batch=0, context=0)
    assert mixed.take() == [(prompts[0], 70), (prompts[1], 30)]
    assert seconds == pytest.approx(0.01)
    assert mixed.chunks == []


def test_paced_chunks_keep_the_iteration_within_the_limit() -> None:
    model = linear(prefill=(0.0, 1e-3, 0.0), decode=(0.001, 0.0, 0.0))
    setup = EngineSetup(
        model, max_batched_tokens=100, max_sequences=10, chunking=Chunking.PACED, least_chunk=4
    )
    mixed = Mixed(setup, QUIET, tpot=0.02)
    assert mixed.plan([round_of(70)], batch=2, context=20) <= 0.02
    assert 4 <= mixed.chunks[0][1] < 20


def test_the_pace_is_told_in_half_seconds_and_weighted_by_tokens() -> None:
    tally = Tally()
    tally.passed(0.4, 40, 3, 0.4)
    assert tally.itl.mean(0.4) is None
    tally.passed(0.2, 10, 1, 0.6)
    assert tally.itl.mean(0.6) == pytest.approx((0.4 * 3 + 0.2) / 130)
    assert (tally.busy, tally.generated) == (pytest.approx(0.6), 130)

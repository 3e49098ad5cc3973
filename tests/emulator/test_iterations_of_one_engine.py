from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes.emulated import BLOCK, FAST, LIMITS, Cluster, request
from pdscale.emulator.engine import Engine
from pdscale.emulator.limits import Limits
from pdscale.emulator.sequence import Finish, Request


def single(limits: Limits = LIMITS) -> tuple[Cluster, Engine]:
    cluster = Cluster()
    return cluster, cluster.add("e", limits=limits, transfer=None)


def test_a_prompt_is_computed_in_chunks_and_then_one_token_comes_per_iteration() -> None:
    cluster, engine = single()
    cluster.submit("e", request("r", range(100), max_tokens=3))
    work = []
    while (iteration := engine.begin(cluster.now)) is not None:
        work.append([count for _, count in iteration.work])
        engine.end(iteration, cluster.now)
    assert work == [[64], [36], [1], [1]]  # 64 is the budget; the third token needs no KV


def test_iterations_last_as_long_as_the_profile_says() -> None:
    _, engine = single()
    engine.submit(request("r", range(50)), 0.0)
    prefill = engine.begin(0.0)
    assert prefill is not None
    assert prefill.seconds == pytest.approx(0.001 + 50 * 10e-6)
    engine.end(prefill, 1.0)
    step = engine.begin(1.0)
    assert step is not None
    assert step.seconds == pytest.approx(0.001 + 10e-6)


def test_speed_divides_the_time_of_an_iteration() -> None:
    _, engine = single(replace(LIMITS, speed=4.0))
    engine.submit(request("r", range(50)), 0.0)
    iteration = engine.begin(0.0)
    assert iteration is not None
    assert iteration.seconds == pytest.approx((0.001 + 50 * 10e-6) / 4)


def test_decodes_go_on_beside_a_prefill_and_both_share_one_pass() -> None:
    _, engine = single()
    engine.submit(request("a", range(10), max_tokens=50), 0.0)
    first = engine.begin(0.0)
    assert first is not None
    engine.end(first, 0.1)
    engine.submit(request("b", range(500, 700)), 0.1)
    mixed = engine.begin(0.1)
    assert mixed is not None
    assert [count for _, count in mixed.work] == [1, 63]
    assert mixed.seconds == pytest.approx(0.001 + 64 * 10e-6)


@pytest.mark.parametrize(
    ("by_priority", "order"),
    [(False, ["slow", "later", "urgent"]), (True, ["slow", "urgent", "later"])],
)
def test_waiting_requests_go_in_order(by_priority: bool, order: list[str]) -> None:
    _, engine = single(replace(LIMITS, max_sequences=1, by_priority=by_priority))
    engine.submit(request("slow", range(8), max_tokens=2, priority=9), 0.0)
    assert engine.begin(0.0) is not None
    engine.submit(request("later", range(8), max_tokens=1, priority=5), 1.0)
    engine.submit(request("urgent", range(8), max_tokens=1, priority=1), 2.0)
    ended = []
    while (iteration := engine.begin(2.0)) is not None:
        ended += [o.sequence.request.id for o in engine.end(iteration, 2.0) if o.finish]
    assert ended == order


def test_no_more_sequences_run_than_allowed() -> None:
    cluster, engine = single(replace(LIMITS, max_sequences=2))
    for i in range(5):
        cluster.submit("e", request(f"r{i}", range(i * 100, i * 100 + 8)))
    engine.begin(0.0)
    assert (engine.running, engine.waiting) == (2, 3)


def test_a_prompt_that_was_seen_before_is_not_computed_again_but_for_its_end() -> None:
    cluster, engine = single()
    cluster.ask("e", request("a", range(40), max_tokens=8))
    cluster.submit("e", request("b", range(40), max_tokens=8))
    iteration = engine.begin(cluster.now)
    assert iteration is not None
    assert [count for _, count in iteration.work] == [BLOCK]  # 9 of 10 blocks hit
    cluster.settle()
    assert engine.stats.prompt_tokens == {
        "local_compute": 44, "local_cache_hit": 36, "external_kv_transfer": 0,
    }  # fmt: skip


def test_the_answer_is_in_the_cache_for_the_next_round() -> None:
    cluster, engine = single()
    answer, _ = cluster.ask("e", request("a", range(40), max_tokens=8))
    cluster.ask("e", request("b", [*range(40), *answer, 1, 2, 3, 4]))
    assert engine.stats.prompt_tokens["local_cache_hit"] == 44  # 47 have KV: 11 full blocks


def test_the_model_may_end_its_answer_itself_but_not_before_the_least_length() -> None:
    limits = replace(LIMITS, answer_length=1)
    cluster, _ = single(limits)
    asked = Request("r", tuple(range(8)), max_tokens=50, min_tokens=3, stops=True)
    tokens, last = cluster.ask("e", asked)
    assert (len(tokens), last.finish) == (4, Finish.STOP)


def test_an_answer_ends_at_the_longest_context() -> None:
    cluster, _ = single(replace(LIMITS, max_model_len=12))
    tokens, last = cluster.ask("e", request("r", range(8), max_tokens=100))
    assert (len(tokens), last.finish) == (4, Finish.LENGTH)


def test_a_sequence_that_lost_its_kv_says_the_same_in_the_end() -> None:
    alone, _ = single()
    wanted = [alone.ask("e", request(f"r{i}", range(i, i + 8), max_tokens=30))[0] for i in range(3)]
    cluster, engine = single(replace(LIMITS, kv_blocks=14, max_model_len=56))
    for i in range(3):
        cluster.submit("e", request(f"r{i}", range(i, i + 8), max_tokens=30))
    cluster.settle()
    assert engine.stats.preemptions > 0
    assert [[o.token for o in cluster.outputs[f"r{i}"]] for i in range(3)] == wanted
    assert engine.cache.usage == 0


def test_the_latest_arrival_loses_its_kv_first() -> None:
    cluster, engine = single(replace(LIMITS, kv_blocks=8, max_model_len=32))
    cluster.submit("e", request("early", range(12), max_tokens=18))
    cluster.now = 1.0
    cluster.submit("e", request("late", range(50, 62), max_tokens=18))
    cluster.settle()
    assert engine.stats.preemptions > 0
    early, late = (cluster.outputs[name][-1].sequence.times.last_token for name in ("early", "late"))
    assert early is not None
    assert late is not None
    assert early < late
    assert cluster.outputs["early"][-1].sequence.preemptions == 0


@pytest.mark.parametrize("iterations", [0, 1, 2, 3])
def test_an_aborted_request_leaves_nothing_behind(iterations: int) -> None:
    cluster, engine = single()
    cluster.submit("e", request("r", range(100)))
    for _ in range(iterations):
        cluster.turn(engine)
    engine.abort("r", cluster.now)
    engine.abort("r", cluster.now)
    assert (engine.running, engine.waiting, engine.cache.usage) == (0, 0, 0.0)
    assert engine.begin(cluster.now) is None
    assert engine.stats.finished == {"abort": 1}


def test_an_abort_during_an_iteration_takes_effect_at_once() -> None:
    cluster, engine = single()
    cluster.submit("e", request("r", range(10)))
    iteration = engine.begin(0.0)
    assert iteration is not None
    engine.abort("r", 0.0)
    assert engine.end(iteration, 0.1) == []


def test_two_requests_of_one_name_are_a_mistake() -> None:
    _, engine = single()
    engine.submit(request("r", range(3)), 0.0)
    with pytest.raises(ValueError, match="request r exists already"):
        engine.submit(request("r", range(3)), 0.0)


def test_one_request_always_fits() -> None:
    with pytest.raises(ValueError, match="max_model_len must be at most the KV capacity of 64"):
        Limits(kv_blocks=4, max_model_len=65)


def test_each_interval_between_tokens_is_counted_once_per_sequence() -> None:
    cluster, engine = single()
    for name in "ab":
        cluster.submit("e", request(name, range(8), max_tokens=5))
    cluster.settle()
    latency = engine.stats.inter_token_latency
    assert latency.count == 8
    assert latency.total == pytest.approx(2 * 4 * 0.00102)


jobs = st.lists(
    st.tuples(st.integers(1, 40), st.integers(1, 12), st.integers(0, 3), st.booleans()),
    min_size=1,
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(jobs, st.integers(13, 40), st.integers(1, 70), st.integers(1, 4))
def test_tokens_and_memory_are_conserved_whatever_comes(
    jobs: list[tuple[int, int, int, bool]], blocks: int, budget: int, slots: int
) -> None:
    """Prompts share prefixes; some clients leave; memory may be short."""
    limits = replace(
        LIMITS, kv_blocks=blocks, max_model_len=52, max_batched_tokens=budget, max_sequences=slots
    )
    cluster, engine = single(limits)
    leaving = []
    for i, (prompt, answer, topic, leaves) in enumerate(jobs):
        cluster.submit("e", request(f"r{i}", range(topic, topic + prompt), max_tokens=answer))
        leaving += [f"r{i}"] if leaves else []
        cluster.turn(engine)
        assert engine.running <= slots
        assert 0 <= engine.cache.usage <= 1
    for name in leaving[::2]:
        engine.abort(name, cluster.now)
    cluster.settle()
    whole = sum(len(o) for o in cluster.outputs.values())
    stats = engine.stats
    assert stats.generation_tokens == whole
    assert stats.finished.total() == len(jobs)
    assert engine.cache.usage == 0
    for i, (_, answer, _, _) in enumerate(jobs):
        outputs = cluster.outputs[f"r{i}"]
        if outputs and outputs[-1].finish is Finish.LENGTH:
            assert len(outputs) == answer
    started = sum(bool(outputs) for outputs in cluster.outputs.values())
    assert stats.time_to_first_token.count == started


def test_the_profile_gives_the_limits_that_nobody_set() -> None:
    limits = Limits.of(FAST)
    assert (limits.kv_tokens, limits.max_batched_tokens, limits.max_model_len) == (4096, 256, 4096)

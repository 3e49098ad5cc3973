import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes.simulated import asked, linear, scenario, singles
from pdscale.model.slo import SLO
from pdscale.perf.model import StepLine
from pdscale.perf.profile import Profile
from pdscale.sim.jumps import slow_steps, steps_to_reach, total_seconds
from pdscale.sim.limits import EngineSetup
from pdscale.sim.records import Outcome
from pdscale.sim.simulation import simulate
from pdscale.sim.traffic import Traffic
from pdscale.workload.sessions import Session

TPOT = 0.0125005  # between the times that steps can take: on one of them, rounding would decide


@given(
    st.floats(1e-4, 1.0),
    st.floats(0, 0.01),
    st.integers(1, 300),
    st.floats(0, 1),
)
def test_a_boundary_is_where_a_loop_over_single_steps_finds_it(
    first: float, growth: float, steps: int, part: float
) -> None:
    growth = min(growth, first)  # a step reads at least one token per sequence, so it cannot grow by more
    elapsed = total_seconds(steps - 1, first, growth) + part * (first + (steps - 1) * growth)
    instant, looped = 0.0, 0
    while instant < elapsed * (1 - 1e-12) or looped == 0:
        instant += first + looped * growth
        looped += 1
    assert abs(steps_to_reach(elapsed, first, growth) - looped) <= (
        1 if math.isclose(instant, elapsed, rel_tol=1e-9) else 0
    )


@given(st.floats(1e-4, 1.0), st.floats(0, 0.01), st.integers(1, 300), st.floats(1e-4, 3.0))
def test_slow_steps_are_counted_as_a_loop_counts_them(
    first: float, growth: float, steps: int, limit: float
) -> None:
    times = [first + i * growth for i in range(steps)]
    if any(math.isclose(t, limit, rel_tol=1e-9) for t in times):
        return
    assert slow_steps(steps, first, growth, limit) == sum(t > limit for t in times)


def step_by_step(model: Profile, requests: list[tuple[float, int, int]]) -> list[tuple[float, float, int]]:
    """(first token, last token, slow gaps) of rounds whose KV is there when they arrive, step by step."""
    waiting = sorted(range(len(requests)), key=lambda i: (requests[i][0], f"s{i}"))
    running: dict[int, int] = {}  # -> tokens so far
    first, last, slow = {}, {}, dict.fromkeys(range(len(requests)), 0)
    now = 0.0
    while waiting or running:
        if not running:
            now = max(now, requests[waiting[0]][0])
        while waiting and requests[waiting[0]][0] <= now:
            running[waiting.pop(0)] = 0
        context = sum(requests[i][1] + done for i, done in running.items())
        seconds = model.step_seconds(len(running), context)
        now += seconds
        for i in list(running):
            if running[i]:
                slow[i] += seconds > TPOT
            else:
                first[i] = now
            running[i] += 1
            if running[i] == requests[i][2]:
                last[i] = now
                del running[i]
    return [(first[i], last[i], slow[i]) for i in range(len(requests))]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0.001, 2.0), st.integers(1, 400), st.integers(1, 60)), min_size=1, max_size=25
    )
)
def test_jumps_give_every_round_what_single_steps_give_it(requests: list[tuple[float, int, int]]) -> None:
    """An irrational offset keeps arrivals off the boundaries, where either side would be right."""
    requests = [(start + math.pi * 1e-5 * (i + 1), p, o) for i, (start, p, o) in enumerate(requests)]
    model = linear(decode=(0.01, 1e-4, 1e-6))
    result = simulate(scenario(1, 1, model, slo=SLO(2.0, TPOT)), singles(requests), seed=1)
    for i, (first, last, slow) in enumerate(step_by_step(model, requests)):
        assert result.outcome[i] == Outcome.SERVED
        assert result.first_token[i] == pytest.approx(first, rel=1e-9)
        assert result.finished[i] == pytest.approx(last, rel=1e-9)
        assert result.slow_gaps[i] == slow


def test_a_stream_alone_takes_the_sum_of_its_steps() -> None:
    # Contexts 100, 101, 102: 3 * 10 ms + 303 us.
    model = linear(decode=(0.01, 0.0, 1e-6))
    result = simulate(scenario(1, 1, model), singles([(5.0, 100, 3)]), seed=1)
    assert result.finished[0] == pytest.approx(5.0 + 0.03 + 303e-6, rel=1e-12)
    assert result.first_token[0] == pytest.approx(5.0101, rel=1e-12)


def test_step_lines_that_end_are_followed_by_the_next_one() -> None:
    class Bent(Profile):
        """Twice as steep above 110 tokens."""

        def step_line(self, batch: float, context: float) -> StepLine:
            if context <= 110:
                return StepLine(0.01, 1e-5, 110)
            return StepLine(0.01 - 110e-5, 2e-5, math.inf)

    plain = linear()
    model = Bent(**vars(plain))
    result = simulate(scenario(1, 1, model), singles([(0.0, 100, 20)]), seed=1)
    steps = [model.step_line(1, c).seconds(c) for c in range(100, 120)]
    assert result.finished[0] == pytest.approx(sum(steps), rel=1e-12)


def test_a_long_prompt_stalls_the_streams_beside_it_for_one_gap() -> None:
    """A stream of 10 ms steps; after about a second 1000 tokens at 0.2 ms each come beside it."""
    model = linear(prefill=(0.0, 2e-4, 0.0))
    rounds = [(0.0, 1, 200), (1.003, 1000, 1)]
    result = simulate(scenario(0, 1, model, slo=SLO(2.0, 0.02)), singles(rounds), seed=1)
    assert result.slow_gaps[0] == 1
    # The step under way ends at 1.01; the stream is one more token of the pass.
    assert result.first_token[1] == pytest.approx(0.0002 + 1.01 + 0.2002, abs=1e-3)


def test_rounds_of_a_session_wait_for_the_answer_before_them() -> None:
    model = linear()
    chat = Session("a", 1.0, (asked(10, 5), asked(20, 5, history=14, wait=3.0)))
    result = simulate(scenario(1, 1, model), Traffic.of([chat]), seed=1)
    assert result.finished[0] == pytest.approx(1.05)
    assert result.arrived[1] == pytest.approx(4.05)
    assert result.reused[1] == 14
    assert result.computed[1] == 6


def test_noise_moves_single_times_and_hardly_the_mean() -> None:
    rng = random.Random(5)
    traffic = singles([(i * 10.0, 100, rng.randint(1, 40)) for i in range(300)])
    quiet = simulate(scenario(1, 1, linear()), traffic, seed=1)
    noisy_setup = EngineSetup(linear(), kv_share=1.0, noise=0.2)
    noisy = simulate(scenario(1, 1, linear(), decode=noisy_setup), traffic, seed=1)
    took = [noisy.finished[i] - noisy.arrived[i] for i in range(300)]
    plain = [quiet.finished[i] - quiet.arrived[i] for i in range(300)]
    assert took != plain
    assert sum(took) == pytest.approx(sum(plain), rel=0.03)

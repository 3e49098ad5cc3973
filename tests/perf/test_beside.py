"""Answers that lose their pace to prefills beside them, against simulated delay busy periods."""

import math
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pdscale.model.workload import Workload
from pdscale.perf.beside import _beyond, late_share
from pdscale.perf.builtin import BUILTIN
from pdscale.perf.capacity import prefill_service

PROFILE = BUILTIN["llama-3.1-70b-h100-tp4"]
LIMIT = 0.05


def workload(prompt: float, answer: float, *, cv: float = 1.0) -> Workload:
    return Workload(1.0, prompt, prompt, prompt**2 * 2, answer, answer**2 * (1 + cv * cv))


CODE, CHAT = workload(2048, 28), workload(1155, 211)


def simulated(rate: float, local: float, kind: Workload, *, step: float, answers: int = 20_000) -> float:
    """Each answer's own steps, and whatever comes to be prefilled until they are done."""
    rng, late = random.Random(1), 0
    deviation = math.sqrt(math.log(kind.output_tokens_squared / kind.output_tokens**2))
    middle = math.log(kind.output_tokens) - deviation**2 / 2
    for _ in range(answers):
        tokens = rng.lognormvariate(middle, deviation)
        left, took, due = tokens * step, 0.0, rng.expovariate(local)
        while left > 0:
            if took + left < due:
                took, left = took + left, 0.0
            else:
                left -= due - took
                took = due
                left += PROFILE.prefill_seconds(rng.expovariate(1 / kind.uncached_tokens))
                due += rng.expovariate(local)
        late += took > tokens * LIMIT
    return late / answers


@pytest.mark.parametrize(
    ("kind", "rate", "local"),
    [(CODE, 4.0, 1.0), (CODE, 4.0, 2.5), (CODE, 6.0, 4.0), (CHAT, 6.0, 5.0), (CHAT, 7.0, 7.0)],
)
def test_late_answers_are_as_many_as_simulated(kind: Workload, rate: float, local: float) -> None:
    busy = local * prefill_service(kind, PROFILE)[0]
    streams, step = 1.0, 0.0
    for _ in range(200):  # as many as come and end
        step = PROFILE.step_seconds(streams, streams * (kind.context_tokens + kind.output_tokens))
        streams = rate * kind.output_tokens * step / (1 - busy)
    expected = simulated(rate, local, kind, step=step)
    assert late_share(rate, local, kind, PROFILE, LIMIT) == pytest.approx(expected, abs=0.045)


def test_without_prefills_beside_it_an_answer_takes_its_steps() -> None:
    assert late_share(1.0, 0.0, CODE, PROFILE, LIMIT) == 0.0
    assert late_share(1.0, 0.0, CODE, PROFILE, PROFILE.step_seconds(1, 2048) / 2) == 1.0


def test_who_prefills_all_the_time_answers_nobody() -> None:
    assert late_share(1.0, 1 / prefill_service(CODE, PROFILE)[0], CODE, PROFILE, LIMIT) == 1.0


def test_more_than_there_is_room_for_is_late() -> None:
    assert late_share(1000.0, 0.1, CODE, replace(PROFILE, max_sequences=4), LIMIT) == 1.0


@given(st.floats(0.01, 20), st.floats(0, 1), st.floats(0, 1))
def test_more_prefills_never_make_fewer_late(rate: float, one: float, other: float) -> None:
    few, many = sorted((rate * one, rate * other))
    assert late_share(rate, few, CODE, PROFILE, LIMIT) <= late_share(rate, many, CODE, PROFILE, LIMIT) + 1e-9


@given(st.floats(0.05, 3), st.floats(1e-2, 1e2), st.floats(0.05, 50))
def test_the_tail_of_an_inverse_gaussian(times: float, mean: float, steadiness: float) -> None:
    shape = mean * steadiness
    expected = stats.invgauss.sf(mean * times, mean / shape, scale=shape)
    assert _beyond(mean * times, mean, shape) == pytest.approx(float(expected), abs=1e-6)


@pytest.mark.parametrize("steadiness", [1e3, 1e6, 1e12])
def test_a_steady_time_is_either_below_or_beyond(steadiness: float) -> None:
    assert _beyond(0.8, 1.0, steadiness) == pytest.approx(1.0, abs=1e-6)
    assert _beyond(1.2, 1.0, steadiness) == pytest.approx(0.0, abs=1e-6)

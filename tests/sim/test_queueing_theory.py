"""Waiting times against closed forms. Standard errors by batch means, as successive waits are alike."""

import math
import random
from collections.abc import Callable

import pytest

from fakes.simulated import linear, one_at_a_time, scenario, singles
from pdscale.model.pools import Targets
from pdscale.sim.records import Result
from pdscale.sim.scaler import Seen
from pdscale.sim.simulation import simulate
from pdscale.sim.traffic import Traffic

MEAN = 10_000  # tokens at 10 us: a service of 0.1 s
PER_TOKEN = 1e-5
ROUNDS, BATCHES = 20_000, 25


def exponential(rng: random.Random) -> float:
    return rng.expovariate(1.0)


def constant(_: random.Random) -> float:
    return 1.0


def two_sizes(rng: random.Random) -> float:
    """Mean one: a quarter five times as long as the others."""
    return 2.5 if rng.random() < 0.25 else 0.5


def queue(law: Callable[[random.Random], float], load: float, seed: int) -> tuple[Traffic, list[float]]:
    rng = random.Random(seed)
    start, requests = 0.0, []
    for _ in range(ROUNDS):
        start += rng.expovariate(load / (MEAN * PER_TOKEN))
        requests.append((start, max(1, round(MEAN * law(rng))), 1))
    return singles(requests), [prompt * PER_TOKEN for _, prompt, _ in requests]


def waits(result: Result, services: list[float]) -> list[float]:
    """TTFT less the service and the one decode step of a nanosecond."""
    return [result.ttft(i) - s for i, s in enumerate(services)]


def mean_and_error(values: list[float]) -> tuple[float, float]:
    size = len(values) // BATCHES
    means = [math.fsum(values[i * size : (i + 1) * size]) / size for i in range(1, BATCHES)]  # first: warm-up
    mean = math.fsum(means) / len(means)
    variance = math.fsum((m - mean) ** 2 for m in means) / (len(means) - 1)
    return mean, math.sqrt(variance / len(means))


SERVER = linear(prefill=(0.0, PER_TOKEN, 0.0), decode=(1e-9, 0.0, 0.0))


@pytest.mark.parametrize(
    ("law", "second_moment"),
    [
        pytest.param(exponential, 2.0, id="M/M/1"),
        pytest.param(constant, 1.0, id="M/D/1"),
        pytest.param(two_sizes, 0.25 * 2.5**2 + 0.75 * 0.5**2, id="M/G/1 with two sizes"),
    ],
)
def test_a_prefill_replica_is_the_single_server_of_pollaczek_and_khinchine(
    law: Callable[[random.Random], float], second_moment: float
) -> None:
    """E[W] = rho E[S^2] / (2 E[S] (1 - rho))."""
    load, service = 0.6, MEAN * PER_TOKEN
    traffic, services = queue(law, load, seed=11)
    result = simulate(scenario(1, 1, SERVER, admission=one_at_a_time), traffic, seed=1)
    mean, error = mean_and_error(waits(result, services))
    expected = load * second_moment * service / (2 * (1 - load))
    assert abs(mean - expected) < 3 * error
    assert error < 0.1 * expected  # else the line above says nothing


def test_streams_that_do_not_slow_each_other_down_never_wait() -> None:
    """M/G/infinity: constant steps, so an answer takes its tokens' time, plus what is left of a step."""
    rng = random.Random(3)
    start, requests = 0.0, []
    for _ in range(2000):
        start += rng.expovariate(50.0)
        requests.append((start, 10, rng.randint(1, 100)))
    result = simulate(scenario(1, 1, linear()), singles(requests), seed=1)
    for i, (_, _, output) in enumerate(requests):
        took = result.finished[i] - result.arrived[i]
        assert output * 0.01 - 1e-9 <= took <= (output + 1) * 0.01 + 1e-9


class Watch:
    """Counts who is there, four times a second, and changes nothing."""

    interval, step = 0.25, 15.0

    def __init__(self) -> None:
        self.seen: list[int] = []

    def decide(self, seen: Seen, now: float) -> Targets | None:
        self.seen.append(seen.rounds)
        return None


def test_rounds_in_the_system_are_their_rate_times_their_time_as_little_says() -> None:
    rng, watch = random.Random(4), Watch()
    start, requests = 0.0, []
    for _ in range(4000):
        start += rng.expovariate(10.0)
        requests.append((start, 1 + int(rng.expovariate(1 / 500)), 1 + int(rng.expovariate(1 / 100))))
    result = simulate(scenario(2, 2, scaler=lambda: watch), singles(requests), seed=1)
    spent = math.fsum(result.finished[i] - result.arrived[i] for i in range(len(requests)))
    counted = sum(watch.seen) * watch.interval
    assert counted == pytest.approx(spent, rel=0.02)

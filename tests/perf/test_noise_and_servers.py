"""Random factors keep the mean; a server is slower than its grid by a factor."""

import random
import statistics

import pytest

from pdscale.perf.builtin import BUILTIN
from pdscale.perf.noise import Noise
from pdscale.perf.scaled import Scaled

GRID = BUILTIN["llama-3.1-8b-h200"]


@pytest.mark.parametrize("steps", [1, 25])
def test_factors_have_mean_one_and_the_variance_of_that_many_steps(steps: int) -> None:
    noise = Noise(0.2, random.Random(3))
    factors = [noise.factor(steps) for _ in range(20_000)]
    assert min(factors) > 0
    assert statistics.fmean(factors) == pytest.approx(1, abs=0.006)
    assert statistics.pstdev(factors) == pytest.approx(0.2 / steps**0.5, rel=0.05)


def test_a_seed_repeats_its_factors_and_no_noise_draws_nothing() -> None:
    first, second = Noise(0.1, random.Random(5)), Noise(0.1, random.Random(5))
    assert [first.factor() for _ in range(5)] == [second.factor() for _ in range(5)]
    rng = random.Random(1)
    before = rng.getstate()
    assert Noise(0.0, rng).factor(7) == 1.0
    assert rng.getstate() == before


def test_impossible_noise_is_refused() -> None:
    with pytest.raises(ValueError, match=r"noise.cv must be at least 0 and finite, got -0.1"):
        Noise(-0.1, random.Random(0))
    with pytest.raises(ValueError, match="at least 1 step, got 0"):
        Noise(0.1, random.Random(0)).factor(0)


def test_a_server_takes_a_factor_longer_for_passes_and_not_for_transfers() -> None:
    server = Scaled(GRID, 1.15)
    assert server.prefill_seconds(2000, 500) == 1.15 * GRID.prefill_seconds(2000, 500)
    assert server.prefill_batch_seconds([(9, 1), (8, 2)]) == 1.15 * GRID.prefill_batch_seconds(
        [(9, 1), (8, 2)]
    )
    assert server.step_seconds(8, 9000) == 1.15 * GRID.step_seconds(8, 9000)
    mixed = GRID.iteration_seconds([(256, 0)], batch=8, context=9000)
    assert server.iteration_seconds([(256, 0)], batch=8, context=9000) == 1.15 * mixed
    assert server.transfer_seconds(100) == GRID.transfer_seconds(100)
    assert (server.name, server.kv_capacity) == (GRID.name, GRID.kv_capacity)
    assert (server.max_batched_tokens, server.max_sequences) == (GRID.max_batched_tokens, GRID.max_sequences)
    assert server.kv_bytes_per_token == GRID.kv_bytes_per_token
    assert server.source.endswith("; times 1.15")


def test_a_factor_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match=r"scaled.factor must be above 0 and finite, got 0"):
        Scaled(GRID, 0)

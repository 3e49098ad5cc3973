"""Simulated and emulated engine under the same requests and profile, both in virtual time.

They share the profile and nothing else: the emulator goes iteration by iteration over blocks and tokens, the
simulator jumps. The emulated engine is driven here as its ``Driver`` drives it, without the clock.

They agree to 1e-9 s, the sum of their roundings, but for two things. A chunk of one token is a decode step
there and a short prefill pass here (0.04 ms apart), so the limits that leave many such tails are tried with a
profile to which both are the same. Where memory is short, KV is counted in blocks there and in tokens here,
and who gives way is the latest arrival there and the youngest stream here: then percentiles are compared.
"""

import os
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes.simulated import asked, linear, scenario
from pdscale.emulator.engine import Engine
from pdscale.emulator.limits import Limits
from pdscale.emulator.sequence import Request
from pdscale.model.quantiles import quantile
from pdscale.perf.builtin import BUILTIN
from pdscale.perf.profile import Profile
from pdscale.placement.baselines import AlwaysLocal
from pdscale.sim.simulation import simulate
from pdscale.sim.traffic import Traffic
from pdscale.workload.sessions import Session

EXACT = 1e-9  # s
SHORT = 0.1  # relative, at percentiles, where memory is short
PROFILE = replace(BUILTIN["llama-3.1-8b-rtxpro6000"], max_batched_tokens=2048, max_sequences=128)
PER_TOKEN = linear(prefill=(0.01, 2e-5, 0.0), decode=(0.01, 2e-5, 0.0), kv_capacity=300_000)

Asked = tuple[float, int, int]
"""Instant, prompt and answer in tokens."""

Times = list[tuple[float, float]]
"""Instants of the first and the last token."""


def emulated(profile: Profile, requests: Sequence[Asked]) -> tuple[Times, int]:
    """What the emulated engine does, and how often it took memory away. No two prompts share a block."""
    engine = Engine(profile, replace(Limits.of(profile), answer_length=0))
    waiting = [
        (at, Request(f"r{i}", tuple(range(i * 1_000_000, i * 1_000_000 + prompt)), answer))
        for i, (at, prompt, answer) in enumerate(requests)
    ]
    waiting.reverse()
    sequences, now = [], 0.0
    while waiting or not engine.idle:
        while waiting and waiting[-1][0] <= now:
            at, request = waiting.pop()
            sequences.append(engine.submit(request, at))
        iteration = engine.begin(now)
        if iteration is None:
            now = waiting[-1][0]
        else:
            now += iteration.seconds
            engine.end(iteration, now)
    times = [(s.times.first_token, s.times.last_token) for s in sequences]
    return [(a, b) for a, b in times if a is not None and b is not None], engine.stats.preemptions


def simulated(profile: Profile, requests: Sequence[Asked]) -> tuple[Times, int]:
    """What one colocated replica of the simulator does, and how often it took memory away."""
    traffic = Traffic.of(
        Session(f"s{i:04}", at, (asked(prompt, answer),)) for i, (at, prompt, answer) in enumerate(requests)
    )
    result = simulate(scenario(0, 1, profile, placement=lambda _: AlwaysLocal()), traffic, seed=1)
    return list(zip(result.first_token, result.finished, strict=True)), result.fleet.preemptions


def furthest(one: Times, other: Times) -> float:
    return max(max(abs(a - c), abs(b - d)) for (a, b), (c, d) in zip(one, other, strict=True))


@dataclass
class Answers:
    """Seconds to first and last token over several runs."""

    first: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)
    preemptions: int = 0

    def add(self, requests: Sequence[Asked], times: Times, preemptions: int) -> None:
        self.preemptions += preemptions
        for (at, _, _), (first, last) in zip(requests, times, strict=True):
            self.first.append(first - at)
            self.whole.append(last - at)


def drawn(seed: int, *, requests: int, rate: float) -> list[Asked]:
    """Poisson arrivals with lengths that differ a lot: prompts around 400 tokens, answers around 55."""
    rng, at, found = random.Random(seed), 0.0, []
    for _ in range(requests):
        at += rng.expovariate(rate)
        prompt, answer = rng.lognormvariate(6, 1), rng.lognormvariate(4, 0.8)
        found.append((at, 1 + min(6000, int(prompt)), 1 + min(600, int(answer))))
    return found


@pytest.mark.parametrize(
    ("changes", "rate"),
    [
        pytest.param({}, 2.0, id="mostly alone"),
        pytest.param({}, 12.0, id="prompts among many streams"),
        pytest.param({"max_sequences": 8, "max_batched_tokens": 512}, 12.0, id="waiting for a sequence"),
        pytest.param({"kv_capacity": 40_000}, 12.0, id="memory just enough"),
    ],
)
def test_both_engines_give_every_token_at_the_same_instant(changes: dict[str, Any], rate: float) -> None:
    profile = replace(PROFILE, **changes)
    for seed in (1, 2, 3):
        requests = drawn(seed, requests=100, rate=rate)
        there, lost = emulated(profile, requests)
        here, lost_here = simulated(profile, requests)
        assert (len(there), lost, lost_here) == (100, 0, 0)
        assert furthest(there, here) < EXACT


@settings(max_examples=60)
@given(
    st.integers(0, 2**32),
    st.integers(1, 20),
    st.floats(1, 200),
    st.integers(1, 12),
    st.integers(1, 300),
    st.integers(1, 3),
)
def test_they_do_so_whatever_the_limits(
    seed: int, requests: int, rate: float, sequences: int, beside: int, together: int
) -> None:
    profile = replace(PER_TOKEN, max_sequences=sequences, max_batched_tokens=sequences + beside)
    drawn_ = drawn(seed, requests=requests, rate=rate)
    # ``together`` of them come at the same instant.
    wanted = [(drawn_[i - i % together][0], prompt, answer) for i, (_, prompt, answer) in enumerate(drawn_)]
    assert furthest(emulated(profile, wanted)[0], simulated(profile, wanted)[0]) < EXACT


def test_whoever_comes_during_one_step_shares_the_iteration_after_it() -> None:
    """A stream's step takes 11 ms: both prompts wait for its end, and are then computed in one pass."""
    requests = [(0.0, 100, 200), (1.001, 300, 5), (1.004, 500, 5)]
    times, _ = simulated(PROFILE, requests)
    assert times[1][0] == times[2][0]
    apart, _ = simulated(PROFILE, [*requests[:2], (1.1, 500, 5)])
    assert apart[1][0] < times[1][0]  # alone in its pass
    assert furthest(times, emulated(PROFILE, requests)[0]) < EXACT


def test_where_memory_is_short_percentiles_agree() -> None:
    """Room for twice the longest prompt. With less the two drift further apart: see design 004."""
    profile = replace(PROFILE, kv_capacity=12_000)
    there, here = Answers(), Answers()
    for seed in range(8):
        requests = drawn(seed, requests=100, rate=12.0)
        there.add(requests, *emulated(profile, requests))
        here.add(requests, *simulated(profile, requests))
    assert there.preemptions > 0
    assert here.preemptions > 0
    for share in (0.5, 0.9):
        assert quantile(sorted(here.first), share) == pytest.approx(
            quantile(sorted(there.first), share), rel=SHORT
        )
        assert quantile(sorted(here.whole), share) == pytest.approx(
            quantile(sorted(there.whole), share), rel=SHORT
        )


def test_a_replayed_trace_has_the_same_instants_on_both() -> None:
    """300 requests at ten a second on 128 sequences, with the profile fitted to that engine's grid."""
    from pdscale.workload.load import load_fit, load_measured_replay

    folder = Path(os.environ.get("PDSCALE_PROFILES", ""))
    replay = folder / "replay_vllm_rtxpro6000_llama31_8b.csv.gz"
    grid = folder / "grid_llama31_8b_rtxpro6000_tp1.csv.gz"
    if not replay.exists() or not grid.exists():
        pytest.skip(f"PDSCALE_PROFILES names no folder with {replay.name} and {grid.name}")
    fitted = load_fit(grid).profile
    profile = replace(fitted, max_batched_tokens=2048, max_sequences=128)
    trace = load_measured_replay(replay).trace
    requests = list(zip(trace.at, trace.prompt, trace.output, strict=True))
    assert furthest(emulated(profile, requests)[0], simulated(profile, requests)[0]) < EXACT

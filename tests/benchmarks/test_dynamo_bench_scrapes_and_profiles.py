"""The side by side with Dynamo: what our rules get to know of its simulator, and the profile fitted to it."""

import json
import math
import random
from typing import Any

import pytest
from benchmarks.dynamo.cases import BLOCK, Case, cases
from benchmarks.dynamo.profiling import fitted, passes
from benchmarks.dynamo.rules import planned
from benchmarks.dynamo.scraping import Scatter, Scraped, Seen, windows

from pdscale.model.pools import PoolState, Role
from pdscale.model.workload import Workload
from pdscale.scaling.history import History
from pdscale.workload.trace import open_trace

A, B, C = cases()


def forward(worker: int, **figures: float) -> dict[str, Any]:
    """A forward pass as the simulator tells it."""
    names = ("num_prefill_requests", "sum_prefill_tokens", "num_decode_requests", "sum_decode_kv_tokens")
    queued = ("num_queued_prefill", "num_queued_decode")
    return {"worker_id": worker, "wall_time": 0.02, **dict.fromkeys((*names, *queued), 0), **figures}


def tick(now: float, **figures: Any) -> dict[str, Any]:
    told: dict[str, Any] = {"now_ms": now * 1e3, "traffic": None}
    for role in Role:
        told |= {f"{role}_fpm_snapshots": [], f"non_draining_{role}_count": 1}
        for state, ids in (("active", [0]), ("starting", []), ("draining", [])):
            told |= {f"{state}_{role}_ids": ids, f"{state}_{role}_count": len(ids)}
    return told | figures


def traffic(arrived: int, ended: int, isl: float, osl: float) -> dict[str, float]:
    return {"num_req": arrived, "shape_count": ended, "avg_isl": isl, "avg_osl": osl}


def history_of(seen: Seen) -> History:
    found = seen.past(1800)
    assert isinstance(found, History)
    return found


def profile_of(case: Case) -> Any:
    return fitted(case, *timed(case)).profile


def timed(case: Case) -> tuple[list[Any], list[Any]]:
    """Passes of the mock: quadratic in a prefill pass's tokens, concave in the share of KV memory in use."""
    prefill, decode = [], []
    for n in range(500, 8500, 250):
        seconds = (4.21e-7 * n * n + 1.518e-2 * n + 16.5) / 1e3 / case.speed
        prefill.append((1, n, 0, 0, seconds))
    for streams in range(1, 120):
        share = streams * 3100 / case.kv_capacity
        decode.append(
            (0, 0, streams, streams * 3100, (5.74 + 54.01 * share - 25.74 * share**2) / 1e3 / case.speed)
        )
    return prefill, decode


@pytest.mark.parametrize("case", [A, B], ids=["fast", "slow"])
def test_the_profile_follows_the_mock_engine_to_some_percent(case: Case) -> None:
    found = fitted(case, *timed(case))
    assert found.prefill_error.largest < 1e-6
    assert found.decode_error.p90 < 0.05
    full = found.profile.prefill_seconds(8000)
    assert full == pytest.approx((4.21e-7 * 8000**2 + 1.518e-2 * 8000 + 16.5) / 1e3 / case.speed)
    assert len(found.samples.prefill) == len(found.samples.decode) == 30


def test_a_full_pass_takes_its_extra_time_off_the_planned_ttft() -> None:
    slo = planned(B, profile_of(B))
    # A pass of 8192 tokens takes 1.69 s, a prompt of 3000 by itself 0.66 s.
    assert slo.ttft == pytest.approx(5.0 - 1.69 + 0.66, abs=0.01)
    assert (slo.tpot, slo.attainment) == (B.slo.tpot, B.slo.attainment)


def test_passes_that_only_hand_kv_over_are_no_prefill() -> None:
    handed = forward(0, num_decode_requests=1, wall_time=0.0)
    computed = forward(1, num_prefill_requests=2, sum_prefill_tokens=5000)
    seen = tick(1.0, prefill_fpm_snapshots=[handed, computed])
    assert passes(seen, "prefill") == [(2, 5000, 0, 0, 0.02)]


def test_what_a_tick_tells_becomes_one_sample_of_each_series() -> None:
    scraped = Scraped(profile_of(A))
    seen = scraped.take(
        tick(
            15.0,
            traffic=traffic(30, 15, 3000, 100),
            decode_fpm_snapshots=[forward(0, num_decode_requests=8, num_queued_decode=2)],
            prefill_fpm_snapshots=[forward(0, num_prefill_requests=1, num_queued_prefill=4)],
        )
    )
    history = history_of(seen)
    assert history.request_rate.values == (2.0,)
    assert history.request_rate.start == 15.0
    assert history.decode_streams.values == (10.0,)
    assert history.backlog() == 5
    workload = history.workload(window=60)
    assert isinstance(workload, Workload)
    assert (workload.uncached_tokens, workload.output_tokens) == (3000, 100)
    # 15 prompts of 3000 tokens at 0.22 s each in 15 s.
    assert seen.busy[Role.PREFILL] == pytest.approx(scraped.profile.prefill_seconds(3000))


def test_a_tick_without_requests_has_rates_of_zero_and_knows_no_lengths() -> None:
    seen = Scraped(profile_of(A)).take(tick(15.0))
    history = history_of(seen)
    assert history.request_rate.values == (0.0,)
    assert math.isnan(history.local_share.values[0])
    assert not isinstance(history.workload(window=60), Workload)


def test_a_replica_that_is_gone_is_counted_no_more() -> None:
    scraped = Scraped(profile_of(A))
    busy = [forward(0, num_decode_requests=8), forward(1, num_decode_requests=5)]
    both = {"active_decode_ids": [0, 1], "active_decode_count": 2}
    scraped.take(tick(15.0, decode_fpm_snapshots=busy, **both))
    left = scraped.take(tick(30.0, active_decode_ids=[1], draining_decode_ids=[]))
    assert history_of(left).decode_streams.values == (13.0, 5.0)


def test_draining_replicas_hold_gpus_and_are_not_desired() -> None:
    told = {"non_draining_decode_count": 3, "active_decode_count": 2, "starting_decode_count": 1}
    seen = Scraped(profile_of(A)).take(tick(15.0, draining_decode_count=2, **told))
    assert seen.decode == PoolState(desired=3, ready=2, starting=1, terminating=2)


def test_single_lengths_scatter_as_the_means_of_windows_say() -> None:
    rng, scatter = random.Random(1), Scatter()
    for _ in range(400):
        scatter.add(20, sum(rng.gauss(1000, 300) for _ in range(20)) / 20)
    assert scatter.squared(1000) == pytest.approx(1000**2 + 300**2, rel=0.02)


def test_lengths_of_which_nothing_is_known_have_a_variation_of_one() -> None:
    assert Scatter().squared(100) == 20_000


def test_a_known_past_ends_where_the_run_begins() -> None:
    past = open_trace("past", [1.0, 2.0, 16.0, 44.0], [100, 300, 500, 700], [10, 10, 10, 10])
    assert [w["num_req"] for w in windows(past, 15.0)] == [2, 1, 1]
    scraped = Scraped(profile_of(A), before=past)
    history = history_of(scraped.take(tick(15.0, traffic=traffic(15, 0, 0, 0))))
    assert history.request_rate.values == pytest.approx((2 / 15, 1 / 15, 1 / 15, 1.0))
    assert (history.request_rate.start, history.age(15.0)) == (-30.0, 0.0)
    assert math.isnan(history.decode_streams.values[0])


@pytest.mark.parametrize("case", [A, B, C], ids=["A", "B", "C"])
def test_a_seed_draws_the_same_requests_again_and_its_past_others(case: Case) -> None:
    trace = case.trace(1)
    assert list(trace.at) == list(case.trace(1).at)
    assert list(trace.at) != list(case.trace(2).at)
    assert list(trace.prompt)[:50] != list(case.past(1).prompt)[:50]
    assert len(trace.at) / case.seconds == pytest.approx(case.rate, rel=0.15)


def test_no_two_prompts_of_a_trace_file_share_a_block() -> None:
    trace = open_trace("two", [0.0, 0.5], [BLOCK + 1, BLOCK], [3, 4])
    first, second = map(json.loads, A.lines(trace))
    assert first == {"timestamp": 0, "input_length": BLOCK + 1, "output_length": 3, "hash_ids": [0, 1]}
    assert (second["timestamp"], second["hash_ids"]) == (500, [2])

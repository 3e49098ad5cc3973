import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pytest

from fakes.simulated import LLAMA_8B, chatter, linear, remains, scenario, singles, with_fleet
from pdscale.model.pools import Bounds, GpusPerReplica, Role, Targets
from pdscale.model.slo import SLO
from pdscale.model.workload import NoData
from pdscale.scaling.autoscaler import Autoscaler
from pdscale.scaling.policy import Policy
from pdscale.sim.meter import Meter
from pdscale.sim.paces import Paces
from pdscale.sim.records import FleetRow, Outcome, Result
from pdscale.sim.scaler import LiveScaler, Seen
from pdscale.sim.simulation import Simulation, simulate
from pdscale.sim.traffic import Traffic
from pdscale_forecaster.series import Series, TooShort


@dataclass
class Script:
    """Wants these targets at these instants."""

    wanted: Mapping[float, Targets]
    interval: float = 1.0
    step: float = 5.0
    seen: list[tuple[float, Seen]] = field(default_factory=list)

    def decide(self, seen: Seen, now: float) -> Targets | None:
        self.seen.append((now, seen))
        return self.wanted.get(now)


def steady(seconds: float, *, every: float = 0.1, prompt: int = 200, output: int = 50) -> Traffic:
    return singles([(i * every, prompt, output) for i in range(int(seconds / every))])


def at(result: Result, now: float) -> FleetRow:
    return [row for row in result.fleet.rows if row.at <= now][-1]


def scaled(wanted: Mapping[float, Targets], traffic: Traffic, **fleet: object) -> tuple[Result, Script]:
    script = Script(wanted)
    plan = with_fleet(scenario(2, 2, scaler=lambda: script), **fleet)
    simulation = Simulation(plan, traffic, 1)
    result = simulation.run()
    assert remains(simulation) == []
    assert set(result.outcome) == {Outcome.SERVED}
    return result, script


def test_a_new_replica_serves_after_its_start_up_and_holds_gpus_before() -> None:
    result, script = scaled({5.0: Targets(2, 3)}, steady(30.0), start_up=10.0)
    assert at(result, 14.9)[4:6] == (2, 1)
    assert at(result, 15.0)[4:6] == (3, 0)
    newcomer = max(result.decode)
    assert min(result.arrived[i] for i, d in enumerate(result.decode) if d == newcomer) >= 15.0
    assert result.fleet.replica_seconds[Role.DECODE] == pytest.approx(
        2 * result.ended_at + result.ended_at - 5
    )
    assert result.fleet.changes == 1
    states = [seen.decode for now, seen in script.seen if now in (5.0, 6.0, 16.0)]
    assert [(s.desired, s.ready, s.starting) for s in states] == [(2, 2, 0), (3, 2, 1), (3, 3, 0)]


def test_a_draining_replica_ends_what_it_has_and_takes_nothing_new() -> None:
    traffic = steady(20.0, output=400)  # an answer takes seconds
    result, script = scaled({5.0: Targets(2, 1)}, traffic)
    gone = next(
        i for i in (3, 4) if max(result.arrived[k] for k, d in enumerate(result.decode) if d == i) < 5
    )
    last = max(result.finished[k] for k, d in enumerate(result.decode) if d == gone)
    assert at(result, 5.0).decode_draining == 1
    assert at(result, last).decode_draining == 0
    assert at(result, last - 0.01).decode_draining == 1
    assert next(seen.decode.terminating for now, seen in script.seen if now == 6.0) == 1


def test_sessions_of_a_replica_that_went_are_computed_again_elsewhere() -> None:
    traffic = Traffic.of(chatter(random.Random(1), sessions=60, rate=10.0))
    result, _ = scaled({4.0: Targets(2, 1)}, traffic)
    assert sum(result.reused) < sum(traffic.history)
    assert all(c + r == p for c, r, p in zip(result.computed, result.reused, traffic.prompt, strict=True))


def test_a_flip_takes_the_flip_time_and_no_start_up() -> None:
    result, _ = scaled({5.0: Targets(1, 3)}, steady(30.0), start_up=100.0, flip=3.0)
    ready = next(row.at for row in result.fleet.rows if row.decode_ready == 3)
    assert 8.0 <= ready < 9.0
    assert result.fleet.changes == 2
    total = sum(result.fleet.replica_seconds.values())
    assert total == pytest.approx(4 * result.ended_at)  # it holds its GPUs throughout


def test_a_warm_standby_is_ready_sooner_and_another_takes_its_place() -> None:
    result, _ = scaled({5.0: Targets(2, 3)}, steady(40.0), start_up=20.0, standby=1, standby_start_up=2.0)
    assert next(row.at for row in result.fleet.rows if row.decode_ready == 3) == pytest.approx(7.0)
    assert {row.standby for row in result.fleet.rows} == {1}
    assert result.fleet.standby_gpu_seconds == pytest.approx(result.ended_at)


def test_replicas_that_are_not_ready_yet_go_first() -> None:
    result, _ = scaled({2.0: Targets(2, 4), 4.0: Targets(2, 2)}, steady(20.0), start_up=10.0)
    assert max(row.decode_ready for row in result.fleet.rows) == 2
    assert at(result, 4.0)[4:] == (2, 0, 0, 0)
    assert result.fleet.replica_seconds[Role.DECODE] == pytest.approx(2 * result.ended_at + 2 * 2.0)


def test_gpu_hours_count_what_each_role_holds() -> None:
    plan = with_fleet(scenario(1, 2), gpus=GpusPerReplica(2, 4))
    result = simulate(plan, steady(10.0), seed=1)
    assert result.fleet.gpu_hours == pytest.approx((1 * 2 + 2 * 4) * result.ended_at / 3600)


def test_a_scaler_sees_how_busy_replicas_were() -> None:
    """Ten prompts of 100 ms a second would be a full replica: here 4 a second, each 50 ms, on one of one."""
    script = Script({})
    model = linear(prefill=(0.05, 0.0, 0.0))
    plan = scenario(1, 1, model, scaler=lambda: script)
    simulate(plan, singles([(i * 0.25 + 0.01, 10, 1) for i in range(80)]), seed=1)
    busy = [seen.busy[Role.PREFILL] for now, seen in script.seen if 2 <= now <= 19]
    assert busy == pytest.approx([0.2] * len(busy))


def test_the_meter_tells_rates_and_lengths_of_whole_steps() -> None:
    streams: Callable[[], tuple[int, int]] = lambda: (3, 5)
    paces = Paces(0.02, 8.0, 0.3, 1000.0, 1.0)
    meter = Meter(10.0, computed=lambda: (100, 300), streams=streams, paces=lambda: paces)
    assert isinstance(meter.past(60.0, 5.0), NoData)
    for now in (1.0, 2.0, 11.0):
        meter.arrived(40, now)
        meter.ended(prompt=100, uncached=40, estimate=50, output=10, now=now)
    past = meter.past(60.0, 20.0)
    assert not isinstance(past, NoData)
    assert (past.request_rate.start, past.request_rate.values) == (10.0, (0.2, 0.1))
    assert past.uncached_tokens.values == (8.0, 4.0)
    assert past.uncached_tokens_squared.values == (320.0, 160.0)
    assert past.decode_streams.values == (3.0, 3.0)
    assert past.inter_token_latency is not None
    assert past.inter_token_latency.values == (0.02, 0.02)
    assert past.prefill_requests is not None
    assert past.prefill_requests.values == (5.0, 5.0)
    assert past.estimated(window=60.0) == pytest.approx(50.0)
    arriving = past.arriving(window=60.0)
    assert arriving is not None
    assert (arriving.mean, arriving.squared) == (pytest.approx(40.0), pytest.approx(1600.0))
    assert past.local_share.values[0] == 0.25
    assert past.local_share.values[1] != past.local_share.values[1]  # nothing was computed in that step
    short = meter.past(10.0, 20.0)
    assert not isinstance(short, NoData)
    assert short.request_rate.values == (0.1,)


def nothing_to_forecast(series: Series, *, horizon: float, quantile: float, model: str) -> TooShort:
    return TooShort("reactive on purpose")


def test_the_live_autoscaler_follows_a_ramp_up_and_down() -> None:
    slo = SLO(1.0, 0.02)
    policy = Policy(
        slo=slo,
        prefill=Bounds(1, 6),
        decode=Bounds(1, 6),
        gpus=GpusPerReplica(1, 1),
        gpu_budget=12,
        profile=LLAMA_8B,
        start_up_prefill=10.0,
        start_up_decode=10.0,
        scale_down_window=60.0,
    )
    rng, start, requests = random.Random(6), 0.0, []
    while start < 900.0:
        start += rng.expovariate(50.0 if 300 <= start < 600 else 2.0)
        requests.append((start, 1 + int(rng.expovariate(1 / 1500)), 1 + int(rng.expovariate(1 / 150))))
    scaler = LiveScaler(Autoscaler(nothing_to_forecast), policy)
    plan = with_fleet(scenario(1, 1, slo=slo, scaler=lambda: scaler), start_up=10.0)
    result = simulate(plan, singles(requests), seed=1)
    assert set(result.outcome) == {Outcome.SERVED}
    quiet, busy, after = at(result, 290.0), at(result, 590.0), at(result, 890.0)
    assert quiet.prefill_ready + quiet.decode_ready == 2
    assert busy.prefill_ready + busy.decode_ready >= 3
    assert after.prefill_ready + after.decode_ready < busy.prefill_ready + busy.decode_ready
    assert scaler.last is not None
    assert scaler.last.plan.trail


def test_who_was_to_change_its_role_and_has_not_is_given_up_before_one_that_serves() -> None:
    traffic = steady(40.0, output=400)  # an answer takes seconds, so no decode replica drains at once
    result, script = scaled({5.0: Targets(3, 1), 6.0: Targets(2, 1)}, traffic, flip=1.0)
    seen = {now: s.prefill for now, s in script.seen}
    assert (seen[6.0].ready, seen[6.0].starting) == (2, 1)
    assert (seen[7.0].ready, seen[7.0].starting) == (2, 0)
    assert at(result, result.ended_at)[1:3] == (2, 0)

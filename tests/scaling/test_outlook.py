"""What is expected of each stage, while mixes change and while they do not."""

import math
from collections.abc import Callable
from dataclasses import fields, replace

import pytest

from pdscale.model.pools import Bounds, GpusPerReplica, Role
from pdscale.model.slo import SLO
from pdscale.model.workload import NoData, Workload
from pdscale.perf.builtin import BUILTIN
from pdscale.perf.decode_pool import DecodePool
from pdscale.scaling.crowd import fuller
from pdscale.scaling.demand import Streams, demand_for
from pdscale.scaling.history import History
from pdscale.scaling.holding import answering, holds
from pdscale.scaling.outlook import Outlook, outlook
from pdscale.scaling.policy import Policy
from pdscale.scaling.rates import beyond_counting
from pdscale.scaling.ratio import Infeasible, cheapest
from pdscale_forecaster.series import Forecast, Series, TooShort

STEP = 15.0
SAMPLES = 40
PROFILE = BUILTIN["llama-3.1-8b-h100"]


def policy(**changes: object) -> Policy:
    settings: dict[str, object] = {
        "slo": SLO(2.0, 0.05),
        "prefill": Bounds(1, 7),
        "decode": Bounds(1, 7),
        "gpus": GpusPerReplica(1, 1),
        "gpu_budget": 8,
        "profile": PROFILE,
    }
    return Policy(**{**settings, **changes})  # type: ignore[arg-type]


def history(
    *,
    rate: float = 8.0,
    ended_prompt: float = 550.0,
    ended_output: float = 5000.0,
    arriving: float | None = 550.0,
    arriving_before: float | None = None,
    streams: tuple[float, float] = (100.0, 100.0),
    backlog: float = 0.0,
) -> History:
    """``streams`` are those of a minute ago and before, and of the last three samples.

    Of ``arriving_before`` was what came until 30 s ago.
    """

    def series(*values: float) -> Series:
        padded = (values[0],) * (SAMPLES - len(values)) + values
        return Series(0.0, STEP, padded)

    def arrivals(power: int) -> Series | None:
        if arriving is None:
            return None
        before = arriving if arriving_before is None else arriving_before
        return series(rate * before**power, rate * arriving**power, rate * arriving**power)

    return History(
        request_rate=series(rate),
        completed=series(rate),
        prompt_tokens=series(rate * ended_prompt),
        uncached_tokens=series(rate * ended_prompt),
        uncached_tokens_squared=series(rate * ended_prompt**2),
        output_tokens=series(rate * ended_output),
        output_tokens_squared=series(rate * ended_output**2),
        local_share=series(math.nan),
        decode_streams=series(streams[0], streams[0], streams[1], streams[1], streams[1]),
        prefill_requests=series(backlog),
        arrived_tokens=arrivals(1),
        arrived_tokens_squared=arrivals(2),
    )


def blind(series: Series, *, horizon: float, quantile: float, model: str) -> TooShort:
    return TooShort("on purpose")


def expected(past: History, **changes: object) -> Outlook:
    found = outlook(past, policy(**changes), blind)
    assert isinstance(found, Outlook)
    return found


def streams_of(found: Outlook) -> tuple[float, float, float]:
    assert found.streams is not None
    return found.streams.count, found.streams.growth, found.streams.ahead


def test_prefill_is_sized_for_what_arrives_and_not_for_what_ended() -> None:
    found = expected(history(ended_prompt=550.0, arriving=12_000.0))
    assert found.arriving.uncached_tokens == pytest.approx(12_000.0)
    assert found.arriving.uncached_tokens_squared == pytest.approx(12_000.0**2)
    assert "prompts of 12000 arrive while 550 end" in found.note


def test_a_new_mix_is_seen_before_the_minute_is_over() -> None:
    found = expected(history(arriving=12_000.0, arriving_before=550.0))
    assert found.arriving.uncached_tokens == pytest.approx(12_000.0)


def test_without_estimates_of_arrivals_lengths_of_ended_rounds_have_to_do() -> None:
    found = expected(history(arriving=None))
    assert found.arriving == found.ended
    assert found.arriving.uncached_tokens == pytest.approx(550.0)


def test_decode_is_sized_for_the_streams_that_are_there_and_not_for_rate_times_length() -> None:
    # 8/s * 5000 tokens would ask for 8 replicas; the 20 streams that are there need less than one.
    found = expected(history(arriving=12_000.0, streams=(20.0, 20.0)))
    assert found.streams is not None
    need = demand_for(
        found.ended, PROFILE, policy().slo, streams=found.streams, spread_over=2, arriving=found.arriving
    )
    assert demand_for(found.ended, PROFILE, policy().slo).decode > 7
    assert need.decode < 1


def test_streams_that_grow_are_expected_to_go_on_growing() -> None:
    # 60 more in a minute, of which sqrt(60^2 - 3^2 * 120) = 50 are no chance; what 75 s ahead is beyond a
    # minute of that is not known.
    found = expected(history(streams=(60.0, 120.0)))
    assert found.streams is not None
    assert found.streams.ahead == pytest.approx(170.2, abs=0.5)
    assert not found.rising  # replicas that have just begun fill as well


@pytest.mark.parametrize(
    ("seconds", "ahead"),
    # Streams stay for (17 * 60 + 3 * 120) / 20 / 8 = 8.6 s: a minute ago three crowds had come, or had not.
    [pytest.param(75.0, 0.0, id="first"), pytest.param(90.0, 170.2, id="later")],
)
def test_the_first_streams_on_empty_replicas_are_no_trend(seconds: float, ahead: float) -> None:
    served = round(seconds / STEP)
    rate = Series(0.0, STEP, (0.0,) * (SAMPLES - served) + (8.0,) * served)
    past = replace(history(streams=(60.0, 120.0)), request_rate=rate)
    assert streams_of(expected(past))[2] == pytest.approx(ahead, abs=0.5)
    assert fuller(past) is (ahead > 0)


@pytest.mark.parametrize(
    ("before", "now", "risen"),
    # 3 * sqrt(30 + 60) = 28.5, and 3 * sqrt(30 + 58) = 28.1.
    [pytest.param(30.0, 60.0, {Role.DECODE}, id="more"), pytest.param(30.0, 58.0, set(), id="by chance")],
)
def test_streams_that_are_more_than_a_minute_ago_have_risen_whatever_arrives(
    before: float, now: float, risen: set[Role]
) -> None:
    assert expected(history(streams=(before, now))).risen == risen


def test_streams_that_differ_by_chance_are_expected_to_stay() -> None:
    found = expected(history(streams=(95.0, 105.0)))
    assert streams_of(found) == pytest.approx(((37 * 95 + 3 * 105) / 40, 1.0, 0.0))
    assert not found.rising


def test_rounds_that_wait_for_prefill_are_demand_until_they_are_gone() -> None:
    past = history(arriving=550.0, backlog=2000.0)
    found = expected(past)

    def prefill(backlog: float) -> float:
        return demand_for(found.ended, PROFILE, policy().slo, backlog=backlog, clear_in=75.0).prefill

    each = PROFILE.prefill_seconds(550)
    assert found.backlog == 2000.0
    assert prefill(2000.0) - prefill(0.0) == pytest.approx(2000 * each / 75, rel=0.01)


def test_rounds_that_wait_where_an_idle_replica_is_too_slow_are_carried_by_none() -> None:
    """Nothing comes for prefill any more, and its SLO is out of reach for what is there."""
    local = Workload(1.0, 550, 550, 550.0**2, 100, 100.0**2, local_share=1.0)
    demand = demand_for(local, PROFILE, SLO(0.001, 0.05), backlog=5.0, clear_in=75.0)
    found = cheapest(demand, prefill=Bounds(1, 7), decode=Bounds(1, 7), gpus=GpusPerReplica(1, 1), budget=8)
    assert isinstance(found, Infeasible)
    assert (found.share, found.constraint) == (0.0, "one prefill replica alone misses its TTFT limit")
    assert replace(demand, prefill=0.1).carried(Role.PREFILL, 7) == 0.0


def test_the_same_tokens_on_fewer_replicas_are_more_streams_and_are_counted_so() -> None:
    workload = Workload(1.0, 550, 550, 550.0**2 * 2, 5000, 5000.0**2 * 2)
    slo = policy().slo

    def need(count: float, replicas: int) -> float:
        return demand_for(workload, PROFILE, slo, streams=Streams(count), spread_over=replicas).decode

    pool = DecodePool(workload, PROFILE, slo)
    assert need(40, 8) > need(40, 2) > pool.hosting(40)
    assert need(400, 2) == pool.hosting(400)  # crowded: by heads


@pytest.mark.parametrize(
    ("value", "left"),
    [
        pytest.param(5.2, 5.0, id="more than counting explains"),
        pytest.param(4.5, 4.0, id="no more than counting explains"),
        pytest.param(3.0, 3.0, id="below its own middle"),
    ],
)
def test_what_counting_scatters_is_taken_from_the_quantile(value: float, left: float) -> None:
    told = Forecast(value=value, point=4.0, quantile=0.9, horizon=75, model="Level")
    assert beyond_counting(told, step=15.0) == pytest.approx(left, abs=0.01)


def test_nothing_is_expected_while_no_round_has_ended() -> None:
    past = history()
    nothing = Series(0.0, STEP, (0.0,) * SAMPLES)
    unended = History(**{**{f: getattr(past, f) for f in past.__dataclass_fields__}, "completed": nothing})
    assert isinstance(outlook(unended, policy(), blind), NoData)


def test_a_replica_is_kept_as_long_as_taking_it_away_would_cost() -> None:
    past = history(rate=2.0, streams=(160.0, 160.0))
    assert answering(past) == pytest.approx(80.0)
    kept = holds(policy(scale_down_window=None), past)
    assert (kept.prefill, kept.decode) == (62.0, pytest.approx(140.0))
    measured = holds(policy(scale_down_window=None, drain_prefill=5.0, drain_decode=200.0), past)
    assert (measured.prefill, measured.decode) == (65.0, 260.0)
    assert holds(policy(scale_down_window=30.0), past).decode == 30.0


def test_a_replica_is_kept_for_as_long_as_its_start_up_is_beyond_what_is_foreseen() -> None:
    """Of a start-up of 180 s a trend foresees 60: 180 + 120, and the drain of 5 or 200 s."""
    slow = policy(
        start_up_prefill=90.0,
        start_up_decode=180.0,
        scale_down_window=None,
        drain_prefill=5.0,
        drain_decode=200.0,
    )
    kept = holds(slow, history(rate=2.0, streams=(160.0, 160.0)))
    assert (kept.prefill, kept.decode) == (125.0, 500.0)


@pytest.mark.parametrize(("step", "after"), [(15.0, 60), (1.0, 4)])
def test_a_short_step_asks_for_quick_answers(step: float, after: int) -> None:
    """The rate falls from 11/s to 1/s: after so many seconds nothing of 11/s is left in "now"."""
    steady = history(arriving=None)
    low = round(after / step)

    def changed(samples: int) -> History:
        rates = (11.0,) * (SAMPLES - samples) + (1.0,) * samples
        known = {f.name: getattr(steady, f.name) for f in fields(History)}
        series = {name: replace(s, step=step) for name, s in known.items() if s is not None}
        return History(**series | {"request_rate": Series(0.0, step, rates)})

    assert expected(changed(low)).arriving.request_rate == pytest.approx(1.0)
    assert expected(changed(low - 1)).arriving.request_rate > 1.0


def scattered(past: History, *, minutes: float, prompt: float, variation: float) -> History:
    """Prompts of the last ``minutes`` have this mean, and all of them scatter by so much."""
    assert past.arrived_tokens is not None
    assert past.arrived_tokens_squared is not None
    count = round(60 * minutes / STEP)
    rate = past.request_rate.values[-1]

    def ending(series: Series, value: float) -> Series:
        return Series(0.0, STEP, (*series.values[:-count], *(value,) * count))

    squares = tuple(v * (1 + variation) for v in past.arrived_tokens_squared.values)
    spread = replace(past, arrived_tokens_squared=Series(0.0, STEP, squares))
    assert spread.arrived_tokens is not None
    assert spread.arrived_tokens_squared is not None
    return replace(
        spread,
        arrived_tokens=ending(spread.arrived_tokens, rate * prompt),
        arrived_tokens_squared=ending(spread.arrived_tokens_squared, rate * prompt**2 * (1 + variation)),
    )


def test_a_minute_of_longer_prompts_that_chance_explains_is_no_other_mix() -> None:
    # 2/s, C^2 3: the mean of a minute's 120 prompts is off by 16 %, and 40 % are within three times that.
    past = history(rate=2.0, ended_prompt=10_000.0, arriving=10_000.0)
    found = expected(scattered(past, minutes=1, prompt=14_000.0, variation=3.0))
    assert "arrive while" not in found.note
    assert found.arriving.uncached_tokens == pytest.approx(10_800.0)  # four minutes of 10 k, one of 14 k


def test_the_same_minute_of_prompts_that_are_all_alike_is_another_mix() -> None:
    past = history(rate=2.0, ended_prompt=10_000.0, arriving=10_000.0)
    found = expected(scattered(past, minutes=1, prompt=14_000.0, variation=0.0))
    assert found.arriving.uncached_tokens == pytest.approx(14_000.0)


def test_a_dip_of_streams_that_chance_explains_gives_no_replica_away() -> None:
    found = expected(history(streams=(12.0, 7.0)))
    assert streams_of(found) == pytest.approx(((37 * 12 + 3 * 7) / 40, 1.0, 0.0))


def test_streams_that_are_fewer_by_more_than_chance_are_believed() -> None:
    assert streams_of(expected(history(streams=(120.0, 40.0)))) == pytest.approx((40.0, 1.0, 0.0))


def test_streams_of_a_mix_that_comes_no_more_are_not_averaged_with_the_new_ones() -> None:
    found = expected(history(arriving=12_000.0, streams=(12.0, 7.0)))
    assert streams_of(found) == pytest.approx((7.0, 1.0, 0.0))


def test_what_was_local_of_the_old_mix_says_nothing_of_the_new_one() -> None:
    past = history(arriving=12_000.0)
    local = replace(past, local_share=Series(0.0, STEP, (0.6,) * SAMPLES))
    assert expected(local).arriving.local_share == 0.0
    alike = replace(history(), local_share=Series(0.0, STEP, (0.6,) * SAMPLES))
    assert expected(alike).arriving.local_share == pytest.approx(0.6)


def test_what_streams_draw_grows_with_the_rate_and_not_their_heads() -> None:
    workload = Workload(1.0, 550, 550, 550.0**2 * 2, 5000, 5000.0**2 * 2)

    def need(streams: Streams) -> float:
        return demand_for(workload, PROFILE, policy().slo, streams=streams, spread_over=2).decode

    assert need(Streams(40, growth=2.0)) == pytest.approx(2 * need(Streams(40)), rel=0.1)
    assert need(Streams(80)) < 1.8 * need(Streams(40))
    assert need(Streams(40, ahead=80.0)) == need(Streams(80))


def said(value: float, point: float) -> Callable[..., Forecast]:
    return lambda *_, **__: Forecast(value=value, point=point, quantile=0.9, horizon=75, model="Level")


def test_a_load_that_stays_is_not_sized_for_what_counting_scatters() -> None:
    # Of 8/s one sample of 15 s is off by 2.2/s now and then.
    steady = history()
    rates = (4.0,) * 4 + steady.request_rate.values[4:]
    changed = replace(steady, request_rate=Series(0.0, STEP, rates))
    found, young = (outlook(past, policy(), said(9.9, 8.5)) for past in (steady, changed))
    assert isinstance(found, Outlook)
    assert isinstance(young, Outlook)
    assert found.arriving.request_rate == 8.0 < young.arriving.request_rate


def test_a_load_that_stays_and_is_expected_to_rise_is_sized_for_the_rise() -> None:
    found = outlook(history(), policy(), said(14.0, 12.0))
    assert isinstance(found, Outlook)
    assert found.arriving.request_rate == pytest.approx(13.7, abs=0.1)


def test_a_forecast_that_has_not_seen_the_rate_fall_asks_for_no_more_streams() -> None:
    """2/s until a minute ago and 0.25/s since: eight times the present rate, but not the streams."""
    past = history(rate=2.0, arriving=None, streams=(300.0, 300.0))
    fallen = replace(past, request_rate=Series(0.0, STEP, (2.0,) * (SAMPLES - 4) + (0.25,) * 4))
    found = outlook(fallen, policy(), said(2.0, 2.0))
    assert isinstance(found, Outlook)
    assert found.arriving.request_rate == 2.0
    assert streams_of(found) == pytest.approx((300.0, 2 / 1.3, 0.0))  # 150 s: 6 samples and 4


def test_decode_is_kept_while_only_short_answers_have_had_time_to_end() -> None:
    """Two minutes of traffic whose answers seem to take 80 s of varying length."""
    past = history(rate=2.0, streams=(160.0, 160.0))
    young = replace(past, request_rate=Series(0.0, STEP, (0.0,) * (SAMPLES - 8) + (2.0,) * 8))
    assert holds(policy(), past).decode == pytest.approx(140.0)
    assert holds(policy(), young).decode == pytest.approx(240.0)
    assert holds(policy(), young).prefill == holds(policy(), past).prefill

"""What is expected of each stage, while mixes change and while they do not."""

import math
from dataclasses import fields, replace

import pytest

from pdscale.model.pools import Bounds, GpusPerReplica
from pdscale.model.slo import SLO
from pdscale.model.workload import NoData, Workload
from pdscale.perf.builtin import BUILTIN
from pdscale.scaling.demand import Streams, demand_for
from pdscale.scaling.history import History
from pdscale.scaling.holding import answering, holds
from pdscale.scaling.outlook import Outlook, beyond_counting, outlook
from pdscale.scaling.policy import Policy
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
        found.ended, PROFILE, policy().slo, streams=Streams(found.streams, 2), arriving=found.arriving
    )
    assert demand_for(found.ended, PROFILE, policy().slo).decode > 7
    assert need.decode < 1


def test_streams_that_grow_are_expected_to_go_on_growing() -> None:
    # 60 more in a minute, of which sqrt(60^2 - 3^2 * 120) = 50 are no chance, 75 s ahead.
    assert expected(history(streams=(60.0, 120.0))).streams == pytest.approx(182.7, abs=0.5)


def test_streams_that_differ_by_chance_are_expected_to_stay() -> None:
    assert expected(history(streams=(95.0, 105.0))).streams == pytest.approx(105.0)


def test_rounds_that_wait_for_prefill_are_demand_until_they_are_gone() -> None:
    past = history(arriving=550.0, backlog=2000.0)
    found = expected(past)

    def prefill(backlog: float) -> float:
        return demand_for(found.ended, PROFILE, policy().slo, backlog=backlog, clear_in=75.0).prefill

    each = PROFILE.prefill_seconds(550)
    assert found.backlog == 2000.0
    assert prefill(2000.0) - prefill(0.0) == pytest.approx(2000 * each / 75, rel=0.01)


def test_the_same_tokens_on_fewer_replicas_are_more_streams_and_are_counted_so() -> None:
    workload = Workload(1.0, 550, 550, 550.0**2 * 2, 5000, 5000.0**2 * 2)
    slo = policy().slo

    def need(count: float, replicas: int) -> float:
        return demand_for(workload, PROFILE, slo, streams=Streams(count, replicas)).decode

    heads = 40 / demand_for(workload, PROFILE, slo).decode_capacity.streams
    assert need(40, 8) > need(40, 2) > heads
    assert need(400, 2) == pytest.approx(10 * heads)  # crowded: by heads


@pytest.mark.parametrize(
    ("value", "left"),
    [
        pytest.param(5.2, 5.0, id="more than counting explains"),
        pytest.param(4.5, 4.0, id="no more than counting explains"),
        pytest.param(3.0, 3.0, id="below its own middle"),
    ],
)
def test_what_counting_scatters_is_taken_from_the_quantile(value: float, left: float) -> None:
    said = Forecast(value=value, point=4.0, quantile=0.9, horizon=75, model="Level")
    assert beyond_counting(said, step=15.0) == pytest.approx(left, abs=0.01)


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

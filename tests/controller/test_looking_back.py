"""What became of forecasts and resizes, and what the operator tells of its own doing."""

import math

import pytest

from fakes.operator import Bench
from fakes.serving import traffic
from pdscale.controller.flaps import SOON, Flaps
from pdscale.controller.forecast_record import JUDGED, ForecastRecord
from pdscale.controller.snapshot import Snapshot
from pdscale.kube.scale import ScaleWrite
from pdscale.model.pools import Role
from pdscale_forecaster.series import Forecast

START = 1_700_000_000.0
STEP = 15.0


def forecast(value: float, *, point: float, horizon: float = 60.0) -> Forecast:
    return Forecast(value=value, point=point, quantile=0.9, horizon=horizon, model="LastValue")


def test_a_forecast_is_judged_when_its_time_has_come_and_not_before() -> None:
    record = ForecastRecord()
    record.note(forecast(12.0, point=8.0), traffic(8.0, now=START))
    record.judge(traffic(10.0, now=START + 45))
    assert (record.coverage, record.error) == (None, None)
    record.judge(traffic(10.0, now=START + 60))
    assert record.coverage == 1.0
    assert record.error == pytest.approx(0.2)


def test_coverage_and_error_are_of_all_that_were_judged() -> None:
    record = ForecastRecord()
    for number, value in enumerate((12.0, 9.0, 11.0, 9.9)):
        record.note(forecast(value, point=9.0), traffic(8.0, now=START + number * STEP))
    record.judge(traffic(10.0, now=START + 600))
    assert record.coverage == 0.5
    assert record.error == pytest.approx(0.1)


def test_what_came_in_a_gap_is_not_known() -> None:
    record = ForecastRecord()
    record.note(forecast(12.0, point=8.0), traffic(8.0, now=START))
    record.judge(traffic(math.nan, now=START + 60))
    record.judge(traffic(10.0, now=START + 75))
    assert record.coverage is None


def test_no_traffic_at_all_has_a_coverage_but_no_relative_error() -> None:
    record = ForecastRecord()
    record.note(forecast(1.0, point=0.5), traffic(0.0, now=START))
    record.judge(traffic(0.0, now=START + 60))
    assert (record.coverage, record.error) == (1.0, None)


def test_one_forecast_a_sample_is_kept_and_the_oldest_are_forgotten() -> None:
    record = ForecastRecord()
    for number in range(JUDGED + 60):
        now = START + number * STEP
        for again in range(3):  # ticks between two samples say nothing new
            record.note(forecast(9.0 if number < 50 else 11.0, point=10.0), traffic(10.0, now=now))
            assert len(record._pending) <= 5, again
        record.judge(traffic(10.0, now=now))
    assert record.coverage == 1.0


def test_a_resize_that_is_undone_soon_is_a_flap() -> None:
    flaps = Flaps()
    assert list(flaps.among([ScaleWrite(Role.DECODE, 2, 4), ScaleWrite(Role.PREFILL, 1, 2)], 0)) == []
    assert list(flaps.among([ScaleWrite(Role.DECODE, 4, 6)], 10)) == []
    assert list(flaps.among([ScaleWrite(Role.DECODE, 6, 5)], 10 + SOON)) == [Role.DECODE]
    assert list(flaps.among([ScaleWrite(Role.PREFILL, 2, 1)], SOON + 1)) == []


async def test_a_whole_loop_tells_of_its_requests_its_flaps_and_its_forecasts(it: Bench) -> None:
    value = it.operator.metrics.registry.get_sample_value
    labels = {"namespace": "default", "name": "chat"}
    it.create()
    for rate in (30.0, 0.5, 30.0):
        it.source.rate = rate
        for _ in range(5):
            await it.tick(after=15)
            it.fake.run_pods()
    assert value("pdscale_operator_flaps_total", {**labels, "role": "decode"}) == 2
    coverage = value("pdscale_operator_forecast_realised_coverage", labels)
    assert coverage is not None
    assert 0 < coverage < 1, "the rate jumped above what was forecast, and fell below it"
    assert (value("pdscale_operator_forecast_realised_error_ratio", labels) or 0) > 0
    assert (value("pdscale_operator_api_requests_total", {"verb": "list", "code": "200"}) or 0) > 20
    assert value("pdscale_operator_draining_replicas", {**labels, "role": "decode"}) == 0
    it.loop.forget(Snapshot.of(it.fake.get("servingdeployments", "chat")))
    assert value("pdscale_operator_flaps_total", {**labels, "role": "decode"}) is None
    assert value("pdscale_operator_forecast_realised_coverage", labels) is None


async def test_requests_that_fail_are_counted_by_why(it: Bench) -> None:
    value = it.operator.metrics.registry.get_sample_value
    it.create()
    await it.tick()
    assert value("pdscale_operator_api_requests_total", {"verb": "get", "code": "404"}) == 8.0
    before = value("pdscale_operator_api_requests_total", {"verb": "apply", "code": "200"})
    assert before is not None
    await it.tick(after=15)
    assert value("pdscale_operator_api_requests_total", {"verb": "apply", "code": "200"}) == before

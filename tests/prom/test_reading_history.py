"""A history from a metrics server that leaves things out, lies, stalls or is not there."""

import math
import socket
import time
from collections.abc import AsyncIterator
from dataclasses import fields

import pytest

from fakes.prometheus import Body, CutOff, Drip, FakePrometheus, Fault, Slow, Status
from pdscale.model.workload import NoData, Workload
from pdscale.prom.access import Access, Bearer
from pdscale.prom.client import PrometheusHistory
from pdscale.prom.errors import MetricsUnavailable
from pdscale.prom.servers import MetricsServers
from pdscale.scaling.history import History

NOW = 1_000_007.9
ROUNDS = {
    "completed": 2.0,
    "prompt_tokens": 600.0,
    "uncached_tokens": 200.0,
    "uncached_tokens_squared": 4e4,
    "output_tokens": 100.0,
    "output_tokens_squared": 1e4,
}
TIMEOUT = 20.0  # of a server that answers, on however busy a machine
SHORT = 0.4  # of one that does not

# Far from the timeout on a busy machine, and far below the 6 s that the library beneath would spend
# on trying again, or the 30 s of a silent server.
PATIENCE = 4.0


@pytest.fixture
async def server() -> AsyncIterator[FakePrometheus]:
    async with FakePrometheus() as server:
        yield server


async def _history(url: str, *, window: float = 60, step: float = 15, patience: float = TIMEOUT) -> History:
    client = PrometheusHistory(Access(url, Bearer("let-me-in"), timeout=patience))
    try:
        return await client.history(namespace="prod", name="chat", window=window, step=step, now=NOW)
    finally:
        client.close()


async def _instant(server: FakePrometheus) -> float | NoData:
    client = PrometheusHistory(Access(server.url, timeout=TIMEOUT))
    try:
        return await client.instant("up")
    finally:
        client.close()


async def test_samples_lie_on_multiples_of_the_step_up_to_now(server: FakePrometheus) -> None:
    server.measures["request_rate"] = lambda t: t
    rate = (await _history(server.url)).request_rate
    assert rate.values == (999_960.0, 999_975.0, 999_990.0, 1_000_005.0)
    assert (rate.start, rate.step) == (999_960.0, 15.0)


async def test_all_measures_come_from_one_question(server: FakePrometheus) -> None:
    server.measures |= {"request_rate": 4.0, **ROUNDS}
    workload = (await _history(server.url)).workload(window=60)
    assert isinstance(workload, Workload)
    assert (workload.request_rate, workload.context_tokens) == (4.0, 300.0)
    assert len(server.asked) == 1
    assert server.asked[0].parameters["query"].count("label_replace") == len(fields(History))


async def test_headers_reach_the_server(server: FakePrometheus) -> None:
    await _history(server.url)
    assert server.asked[0].headers["authorization"] == "Bearer let-me-in"


async def test_a_service_without_requests_is_zero(server: FakePrometheus) -> None:
    server.measures["request_rate"] = 0.0
    assert (await _history(server.url)).request_rate.values == (0.0,) * 4


@pytest.mark.parametrize(
    "absent",
    [
        pytest.param(None, id="missing sample"),
        pytest.param(math.nan, id="NaN"),
        pytest.param(math.inf, id="+Inf"),
        pytest.param(-math.inf, id="-Inf"),
    ],
)
async def test_what_is_not_known_is_nan(server: FakePrometheus, absent: float | None) -> None:
    server.measures["request_rate"] = lambda t: absent if t == 999_990 else 2.0
    values = (await _history(server.url)).request_rate.values
    assert values[0] == values[1] == values[3] == 2.0
    assert math.isnan(values[2])


async def test_a_missing_series_is_no_data_and_not_zero(server: FakePrometheus) -> None:
    history = await _history(server.url)
    assert history.request_rate.known == 0
    assert isinstance(history.workload(window=60), NoData)
    assert history.age(NOW) == math.inf


async def test_what_another_exporter_tells_can_be_missing_alone(server: FakePrometheus) -> None:
    server.measures |= {"request_rate": 1.0, **ROUNDS}
    history = await _history(server.url)
    assert history.request_rate.known == history.completed.known == 4
    assert history.local_share.known == 0


@pytest.mark.parametrize("lost", list(ROUNDS))
async def test_rounds_without_one_of_their_sums_are_no_rounds(server: FakePrometheus, lost: str) -> None:
    """A sum that is missing over rounds that are counted would be a mean of zero tokens."""
    server.measures |= {"request_rate": 4.0, **ROUNDS}
    del server.measures[lost]
    history = await _history(server.url)
    assert history.request_rate.known == 4
    assert history.completed.known == history.uncached_tokens.known == 0
    assert isinstance(history.workload(window=60), NoData)


@pytest.mark.parametrize(
    ("measure", "value", "known"),
    [
        pytest.param("request_rate", -1.0, None, id="rate below zero"),
        pytest.param("request_rate", -1e-9, 0.0, id="zero but for rounding"),
        pytest.param("local_share", 1.5, None, id="share above one"),
        pytest.param("local_share", 1.0, 1.0, id="share of one"),
        pytest.param("decode_streams", -3.0, None, id="streams below zero"),
    ],
)
async def test_what_cannot_be_is_not_known(
    server: FakePrometheus, measure: str, value: float, known: float | None
) -> None:
    server.measures[measure] = value
    values = getattr(await _history(server.url), measure).values
    assert all(v == known if known is not None else math.isnan(v) for v in values)


def _matrix(*series: str) -> Body:
    return Body(b'{"status":"success","data":{"result":[%s]}}' % ",".join(series).encode())


def _rate(values: str) -> str:
    return f'{{"metric":{{"measure":"request_rate"}},"values":{values}}}'


UNUSABLE = [
    pytest.param(Status(400), False, "400", id="a query that it does not understand"),
    pytest.param(Status(401), False, "401", id="unauthorised"),
    pytest.param(Status(429), True, "429", id="too many requests"),
    pytest.param(Status(500), True, "500", id="internal error"),
    pytest.param(Status(503), True, "503", id="unavailable"),
    pytest.param(Slow(30), True, "within 0.4s", id="silent"),
    pytest.param(Drip(0.1), True, "within 0.4s", id="dripping"),
    pytest.param(CutOff(), True, "", id="hangs up half way"),
    pytest.param(Body(b'{"status":"succ'), False, "malformed", id="truncated JSON"),
    pytest.param(Body(b"<html>log in</html>"), False, "malformed", id="a login page"),
    pytest.param(Body(b"[]"), False, "malformed", id="another JSON"),
    pytest.param(Body(b'{"data":{"result":{}}}'), False, "a list was", id="result is no list"),
    pytest.param(_matrix("3"), False, "'metric'", id="a series that is no object"),
    pytest.param(_matrix('{"metric":{}}'), False, "'measure'", id="a series without a name"),
    pytest.param(_matrix(_rate("[]"), _rate("[]")), False, "two series", id="two series"),
    pytest.param(_matrix(_rate('[[999975,"a"]]')), False, "numbers", id="a value that is none"),
    pytest.param(_matrix(_rate("[[999975]]")), False, "[time, value]", id="half a sample"),
    pytest.param(
        _matrix(_rate('[[999975,"1"],[999975,"2"]]')), False, "two samples", id="same instant twice"
    ),
    pytest.param(_matrix(_rate('[[999976,"1"]]')), False, "not asked for", id="off the grid"),
    pytest.param(_matrix(_rate('[[900000,"1"]]')), False, "not asked for", id="out of range"),
    pytest.param(_matrix(_rate('[["NaN","1"]]')), False, "a time", id="no time"),
]


@pytest.mark.parametrize(("fault", "retry_helps", "says"), UNUSABLE)
async def test_an_unusable_answer_is_unavailable(
    server: FakePrometheus, fault: Fault, retry_helps: bool, says: str
) -> None:
    server.measures["request_rate"] = 1.0
    server.fault = fault
    with pytest.raises(MetricsUnavailable) as caught:
        await _history(server.url, patience=SHORT if isinstance(fault, Slow | Drip) else TIMEOUT)
    assert caught.value.retry_helps is retry_helps
    assert server.url in caught.value.reason
    assert says in caught.value.reason


async def test_a_refused_connection_is_told_at_once_and_may_be_tried_again() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        began = time.monotonic()
        with pytest.raises(MetricsUnavailable, match="refused") as caught:
            await _history(url)
    assert caught.value.retry_helps
    assert time.monotonic() - began < PATIENCE


@pytest.mark.parametrize("fault", [Slow(30), Drip(0.1)])
async def test_a_call_takes_no_longer_than_the_timeout(server: FakePrometheus, fault: Fault) -> None:
    server.fault = fault
    began = time.monotonic()
    with pytest.raises(MetricsUnavailable):
        await _history(server.url, patience=SHORT)
    assert time.monotonic() - began < PATIENCE


async def test_a_failed_question_is_not_asked_twice(server: FakePrometheus) -> None:
    server.fault = Status(503)
    with pytest.raises(MetricsUnavailable):
        await _history(server.url)
    assert len(server.asked) == 1


async def test_a_server_that_comes_back_is_heard(server: FakePrometheus) -> None:
    client = PrometheusHistory(Access(server.url, timeout=TIMEOUT))
    server.fault = CutOff()
    with pytest.raises(MetricsUnavailable):
        await client.instant("up")
    server.fault, server.instant = None, 3.0
    assert await client.instant("up") == 3.0
    client.close()


@pytest.mark.parametrize("absent", [None, math.nan, math.inf])
async def test_an_instant_without_a_number_is_no_data(server: FakePrometheus, absent: float | None) -> None:
    server.instant = absent
    assert isinstance(await _instant(server), NoData)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'{"data":{"resultType":"scalar","result":[5,"0"]}}', id="scalar"),
        pytest.param(b'{"data":{"result":[{"metric":{},"value":[5,"0"]}]}}', id="vector"),
    ],
)
async def test_an_instant_of_zero_is_zero(server: FakePrometheus, body: bytes) -> None:
    server.fault = Body(body)
    assert await _instant(server) == 0.0


async def test_two_series_are_no_answer_to_a_question_for_one_number(
    server: FakePrometheus,
) -> None:
    one = b'{"metric":{},"value":[5,"1"]}'
    server.fault = Body(b'{"data":{"result":[%s,%s]}}' % (one, one))
    with pytest.raises(MetricsUnavailable, match="2 series"):
        await _instant(server)


@pytest.mark.parametrize(
    ("window", "step", "says"),
    [
        pytest.param(60, 0.5, "step must be a whole number", id="step below a second"),
        pytest.param(60, 7.5, "step must be a whole number", id="broken step"),
        pytest.param(10, 15, "window must hold 1 to 1051200 steps", id="window below a step"),
        pytest.param(1e8, 1, "window must hold 1 to 1051200 steps", id="too many samples"),
    ],
)
async def test_a_grid_that_cannot_be_asked_for_is_refused(
    server: FakePrometheus, window: float, step: float, says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        await _history(server.url, window=window, step=step)


@pytest.mark.parametrize(
    ("url", "timeout", "scrape_interval", "says"),
    [
        pytest.param("prometheus:9090", 5, 15, "must begin with http", id="no scheme"),
        pytest.param("http://", 5, 15, "must begin with http", id="no host"),
        pytest.param("http://p:9090", 0, 15, "timeout must be above 0s", id="no time"),
        pytest.param("http://p:9090", 5, 0, "scrapeInterval must be above 0s", id="no interval"),
    ],
)
def test_a_server_that_cannot_be_asked_is_refused(
    url: str, timeout: float, scrape_interval: float, says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        PrometheusHistory(Access(url, timeout=timeout), scrape_interval=scrape_interval)


def test_one_client_serves_a_url_however_it_is_written() -> None:
    servers = MetricsServers()
    assert servers.at("http://p:9090") is servers.at("http://p:9090/")
    assert servers.at("http://p:9090") is not servers.at("http://q:9090")
    servers.close()

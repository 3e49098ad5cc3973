"""A metrics server that misbehaves on a socket, read by the real reader, under the real loop.

A fleet has grown to its load; then the server goes wrong for half an hour, in every way that we know of. No
pool may become smaller for it, and where nothing is known any more the condition names the server.
"""

import math
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fakes.kube import PLURAL
from fakes.operator import START, Bench, bench
from fakes.prometheus import Body, CutOff, Drip, FakePrometheus, Fault, Measure, Slow, Status
from pdscale.prom.servers import MetricsServers

RATE, PROMPT, OUTPUT = 20.0, 3000.0, 300.0
LOAD: dict[str, float] = {
    "request_rate": RATE,
    "completed": RATE,
    "prompt_tokens": RATE * PROMPT,
    "uncached_tokens": RATE * PROMPT,
    "uncached_tokens_squared": RATE * PROMPT**2,
    "output_tokens": RATE * OUTPUT,
    "output_tokens_squared": RATE * OUTPUT**2,
    "local_share": 0.0,
    "decode_streams": 120.0,
    "prefill_requests": 4.0,
    "ended_estimates": RATE * PROMPT,
    "arrived_tokens": RATE * PROMPT,
    "arrived_tokens_squared": RATE * PROMPT**2,
}
HALF_AN_HOUR = (0, 15, 30, 120, 600, 1800)

Matrix = list[dict[str, Any]]
Spoil = Callable[[Matrix], Matrix]


@dataclass(frozen=True, slots=True)
class Trouble:
    """What goes wrong from now on. ``reason`` is the condition's at the end, ``says`` what it contains."""

    reason: str
    says: str
    fault: Fault | None = None
    spoil: Spoil = list
    measures: Callable[[float], dict[str, Measure]] = lambda _: {}
    timeout: str = "20s"


def _without(*names: str) -> Spoil:
    return lambda matrix: [series for series in matrix if series["metric"]["measure"] not in names]


def _all_values(value: str) -> Spoil:
    def spoiled(matrix: Matrix) -> Matrix:
        return [{**series, "values": [[t, value] for t, _ in series["values"]]} for series in matrix]

    return spoiled


def _twice(matrix: Matrix) -> Matrix:
    return [*matrix, *matrix]


def _backwards(matrix: Matrix) -> Matrix:
    return [{**series, "values": series["values"][::-1]} for series in matrix]


def _until(instant: float) -> dict[str, Measure]:
    def measure(value: float) -> Measure:
        return lambda t: value if t <= instant else None

    return {name: measure(value) for name, value in LOAD.items()}


def _outlier(instant: float) -> dict[str, Measure]:
    """A cold start: for a moment engines report what no fleet has."""

    def measure(name: str, value: float) -> Measure:
        cold = {"decode_streams": -7.0, "local_share": 40.0}
        return lambda t: cold.get(name, math.inf) if t > instant else value

    return {name: measure(name, value) for name, value in LOAD.items()}


TROUBLES = [
    pytest.param(Trouble("MetricsUnreachable", "503", Status(503)), id="server error"),
    pytest.param(Trouble("MetricsUnreachable", "401", Status(401)), id="withdrawn credentials"),
    pytest.param(Trouble("MetricsUnreachable", "422", Status(422)), id="query refused"),
    pytest.param(Trouble("MetricsUnreachable", "within 0.3s", Slow(30), timeout="300ms"), id="slow"),
    pytest.param(Trouble("MetricsUnreachable", "within 0.3s", Drip(0.1), timeout="300ms"), id="dripping"),
    pytest.param(Trouble("MetricsUnreachable", "", CutOff()), id="hangs up half way"),
    pytest.param(Trouble("MetricsUnreachable", "malformed", Body(b'{"status":"succ')), id="truncated JSON"),
    pytest.param(Trouble("MetricsUnreachable", "malformed", Body(b"<html>")), id="a login page"),
    pytest.param(Trouble("MetricsUnreachable", "two series", spoil=_twice), id="duplicate series"),
    pytest.param(Trouble("MetricsStale", "told", spoil=lambda _: []), id="empty answers"),
    pytest.param(Trouble("MetricsStale", "told", spoil=_all_values("NaN")), id="NaN"),
    pytest.param(Trouble("MetricsStale", "told", spoil=_all_values("+Inf")), id="infinity"),
    pytest.param(Trouble("MetricsStale", "told", spoil=_all_values("-3")), id="below zero"),
    pytest.param(Trouble("MetricsStale", "told", measures=_until), id="a gap of half an hour"),
    pytest.param(Trouble("MetricsStale", "told", measures=_outlier), id="cold-start outliers"),
    pytest.param(Trouble("MetricsStale", "told", spoil=_without("request_rate")), id="rate series stale"),
    pytest.param(
        Trouble("MetricsPartial", "completed of front", spoil=_without("uncached_tokens")),
        id="one sum of rounds is missing",
    ),
    pytest.param(
        Trouble("MetricsPartial", "decode_streams of decode engines", spoil=_without("decode_streams")),
        id="engines are no longer scraped",
    ),
    pytest.param(
        Trouble("MetricsPartial", "routers beside engines", spoil=_without("arrived_tokens")),
        id="sidecars are no longer scraped",
    ),
    pytest.param(Trouble("MetricsFresh", "", spoil=_backwards), id="out of order"),
]


@pytest.fixture
async def server() -> AsyncIterator[FakePrometheus]:
    async with FakePrometheus(dict(LOAD)) as server:
        yield server


@pytest.fixture
async def it(tmp_path: Path, server: FakePrometheus) -> AsyncIterator[Bench]:
    async with bench(tmp_path) as found:
        found.servers = MetricsServers()
        found.restart()
        yield found
        found.servers.close()


async def _grown(it: Bench, server: FakePrometheus) -> tuple[int, int]:
    it.create(prometheus={"url": server.url, "timeout": "20s"})
    for _ in range(6):
        await it.tick(after=15)
        it.fake.run_pods()
    assert it.condition("MetricsAvailable")[:2] == ("True", "MetricsFresh")
    found = it.replicas()
    assert min(found) >= 2, "a fleet at its minima could not shrink"
    return found


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_no_pool_shrinks_for_what_is_not_known(
    it: Bench, server: FakePrometheus, trouble: Trouble
) -> None:
    before = await _grown(it, server)
    patch = {"spec": {"prometheus": {"timeout": trouble.timeout}}}
    it.fake.store.patch((PLURAL, "default", "chat"), patch, subresource="", manager="user", is_json=False)
    server.fault, server.whole = trouble.fault, trouble.spoil
    server.measures.update(trouble.measures(it.now))
    last = START
    for after in HALF_AN_HOUR:
        await it.tick(after=after)
        it.fake.run_pods()
        assert all(now >= then for now, then in zip(it.replicas(), before, strict=True)), it.status()["plan"]
        last = it.now
    assert last > START
    status, reason, message = it.condition("MetricsAvailable")
    assert (status, reason) == ("True" if reason in ("MetricsFresh", "MetricsPartial") else "False", reason)
    assert reason == trouble.reason, message
    assert trouble.says in message
    assert reason == "MetricsFresh" or server.url in message


async def test_a_server_that_is_down_is_named_and_nothing_shrinks(it: Bench, server: FakePrometheus) -> None:
    before = await _grown(it, server)
    await server.__aexit__()
    for after in HALF_AN_HOUR:
        await it.tick(after=after)
    assert it.replicas() == before
    assert it.condition("MetricsAvailable")[:2] == ("False", "MetricsUnreachable")
    assert server.url in it.condition("MetricsAvailable")[2]


async def test_a_load_that_really_goes_away_does_shrink_the_pools(it: Bench, server: FakePrometheus) -> None:
    """Else the tests above would pass for a fleet that never shrinks."""
    before = await _grown(it, server)
    server.measures.update({name: value / 20 for name, value in LOAD.items() if name != "local_share"})
    for _ in range(40):
        await it.tick(after=60)
        it.fake.run_pods()
    assert sum(it.replicas()) < sum(before)

"""Which metrics server is asked: the object's own, or else the operator's; without either it is told."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fakes.operator import Bench, bench
from fakes.prometheus import FakePrometheus
from pdscale.prom.servers import MetricsServers
from pdscale.settings import Settings


@pytest.fixture
async def it(tmp_path: Path) -> AsyncIterator[Bench]:
    async with bench(tmp_path) as found:
        found.servers = MetricsServers()
        yield found
        found.servers.close()


def told_to_ask(it: Bench, url: str | None) -> None:
    it.settings = Settings(prometheus_url=url)
    it.restart()


async def test_who_names_no_server_is_measured_by_the_operators(it: Bench, server: FakePrometheus) -> None:
    told_to_ask(it, server.url)
    it.create(prometheus={"url": None, "timeout": "20s"})
    await it.tick()
    assert server.asked
    assert it.condition("MetricsAvailable")[:2] == ("True", "MetricsFresh")


async def test_a_server_that_the_object_names_wins(it: Bench, server: FakePrometheus) -> None:
    async with FakePrometheus({"request_rate": 0.0}) as default:
        told_to_ask(it, default.url)
        it.create(prometheus={"url": server.url, "timeout": "20s"})
        await it.tick()
        assert (bool(server.asked), default.asked) == (True, [])


async def test_without_either_the_condition_says_where_to_name_one_and_replicas_stay(it: Bench) -> None:
    told_to_ask(it, None)
    it.create(prometheus={"url": None})
    await it.tick()
    it.fake.run_pods()
    await it.tick(after=15)
    status, reason, message = it.condition("MetricsAvailable")
    assert (status, reason) == ("False", "MetricsUnreachable")
    assert "spec.prometheus.url is not set" in message
    assert "the chart's prometheus.url" in message
    assert it.replicas() == (1, 1)
    assert it.condition("Ready")[0] == "True"

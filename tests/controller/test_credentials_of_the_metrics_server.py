"""Credentials come out of Secrets that the object names; what is wrong with one is told, and pools stay."""

import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from fakes.kube import PLURAL
from fakes.operator import Bench, bench
from fakes.prometheus import FakePrometheus
from pdscale.prom.servers import MetricsServers

TOKEN = {"bearerToken": {"name": "metrics", "key": "token"}}
BASIC = {
    "basic": {"username": {"name": "metrics", "key": "user"}, "password": {"name": "metrics", "key": "pass"}}
}


@pytest.fixture
async def it(tmp_path: Path) -> AsyncIterator[Bench]:
    async with bench(tmp_path) as found:
        found.servers = MetricsServers()
        found.restart()
        yield found
        found.servers.close()


def _secret(it: Bench, **texts: str) -> None:
    encoded = {name: base64.b64encode(text.encode()).decode() for name, text in texts.items()}
    it.fake.store.create("secrets", "default", {"metadata": {"name": "metrics"}, "data": encoded})


@pytest.mark.parametrize(
    ("auth", "header"),
    [
        pytest.param(TOKEN, "Bearer t0k3n", id="bearer"),
        pytest.param(BASIC, "Basic " + base64.b64encode(b"me:secret").decode(), id="basic"),
    ],
)
async def test_a_credential_of_a_secret_reaches_the_server(
    it: Bench, server: FakePrometheus, auth: dict[str, Any], header: str
) -> None:
    _secret(it, token="t0k3n\n", user="me", **{"pass": "secret"})
    it.create(prometheus={"url": server.url, "timeout": "20s", "auth": auth})
    await it.tick()
    assert server.asked[0].headers["authorization"] == header
    assert it.condition("MetricsAvailable")[:2] == ("True", "MetricsFresh")


async def test_a_renewed_token_is_used_at_the_next_tick(it: Bench, server: FakePrometheus) -> None:
    _secret(it, token="old")
    it.create(prometheus={"url": server.url, "timeout": "20s", "auth": TOKEN})
    await it.tick()
    it.fake.store.delete(("secrets", "default", "metrics"))
    _secret(it, token="new")
    await it.tick(after=15)
    shown = dict.fromkeys(asked.headers["authorization"] for asked in server.asked)
    assert list(shown) == ["Bearer old", "Bearer new"]


@pytest.mark.parametrize(
    ("texts", "prometheus", "says"),
    [
        pytest.param(None, {"auth": TOKEN}, "Secret metrics in default does not exist; create it", id="none"),
        pytest.param({"other": "x"}, {"auth": TOKEN}, "has no key token", id="no such key"),
        pytest.param({"token": "two words"}, {"auth": TOKEN}, "must be one word", id="no token"),
        pytest.param(
            {"token": "x"},
            {"url": "https://127.0.0.1:9", "tls": {"ca": TOKEN["bearerToken"]}},
            "spec.prometheus.tls: the CA must be certificates in PEM",
            id="no certificate",
        ),
    ],
)
async def test_what_is_wrong_with_a_credential_is_told_and_replicas_stay(
    it: Bench,
    server: FakePrometheus,
    texts: dict[str, str] | None,
    prometheus: dict[str, Any],
    says: str,
) -> None:
    if texts is not None:
        _secret(it, **texts)
    it.create(prometheus={"url": server.url, **prometheus})
    await it.tick()
    await it.tick(after=15)
    status, reason, message = it.condition("MetricsAvailable")
    assert (status, reason) == ("False", "MetricsUnreachable")
    assert says in message
    assert prometheus.get("url", server.url) in message
    assert server.asked == []
    assert it.replicas() == (1, 1)


async def test_queries_of_the_object_reach_the_server(it: Bench, server: FakePrometheus) -> None:
    it.create(
        prometheus={"url": server.url, "timeout": "20s", "queries": {"requestRate": "sum(my_rate[$window])"}}
    )
    await it.tick()
    (history,) = (asked for asked in server.asked if asked.path.endswith("/query_range"))
    assert "sum(my_rate[60s])" in history.parameters["query"]
    assert it.fake.get(PLURAL, "chat")["spec"]["prometheus"]["queries"] == {
        "requestRate": "sum(my_rate[$window])"
    }

"""What a tick asks its metrics server: credentials once, one patience for all, nothing before the pools."""

import asyncio
import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NoReturn

import pytest

from fakes.kube import PLURAL
from fakes.operator import Bench
from fakes.prometheus import FakePrometheus
from fakes.serving import SteadyMetrics
from pdscale.api.translate import read
from pdscale.api.v1alpha1 import ServingDeployment
from pdscale.controller import observe
from pdscale.controller.snapshot import Snapshot
from pdscale.kube.targets import Targets
from pdscale.model.units import Seconds
from pdscale.prom.servers import MetricsServers
from pdscale.scaling.history import History


@dataclass(slots=True)
class _Slow(SteadyMetrics):
    """Never tells a history to its end; ``waited`` counts the questions that were given up."""

    waited: list[str] = field(default_factory=list)

    async def history(
        self,
        *,
        namespace: str,
        name: str,
        window: Seconds,
        step: Seconds,
        now: Seconds,
        overrides: Mapping[str, str],
    ) -> History:
        await self._for_ever("history")

    async def instants(self, query: str, *, label: str) -> dict[str, float]:
        await self._for_ever("instants")

    async def _for_ever(self, what: str) -> NoReturn:
        try:
            await asyncio.Event().wait()
            raise AssertionError
        finally:
            self.waited.append(what)


@dataclass(slots=True)
class _Watching(SteadyMetrics):
    """Notes at each question whether the pools are there."""

    it: Bench | None = None
    found: list[bool] = field(default_factory=list)

    async def instants(self, query: str, *, label: str) -> dict[str, float]:
        assert self.it is not None
        self.found.append(self.it.fake.has("deployments", "chat-decode"))
        return await SteadyMetrics.instants(self, query, label=label)


async def test_a_server_that_never_ends_costs_a_tick_its_patience_and_is_named(
    it: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observe, "LEAST_PATIENCE", 0.2)
    it.source = slow = _Slow()
    it.create(prometheus={"timeout": "100ms"})
    before = asyncio.get_running_loop().time()
    await it.tick()
    assert asyncio.get_running_loop().time() - before < 10
    assert slow.waited[0] == "history"
    status, reason, message = it.condition("MetricsAvailable")
    assert (status, reason) == ("False", "MetricsUnreachable")
    assert message.startswith("http://prometheus:9090: no whole answer within the 0.2s of a tick; ")
    assert it.replicas() == (1, 1)


async def test_patience_is_one_for_all_questions_of_a_tick_and_anew_for_the_next(it: Bench) -> None:
    it.create()
    wanted = await _wanted(it)
    slow, quick = _Slow(), SteadyMetrics(figures={"open/p": 1.0})
    servers = iter((slow, quick))
    asks = observe.TickObserver(it.kube, lambda _: next(servers), Targets(it.kube), patience=0.1)
    for _ in range(2):
        assert "within the 0.1s of a tick" in str(await asks.instants(wanted, "p", label="pod"))
    assert slow.waited == ["instants"], "nothing is asked when the patience is at its end"
    assert await asks.in_a_tick(wanted).instants(wanted, "p", label="pod") == {"open/p": 1.0}


@pytest.mark.parametrize(("page", "patience"), [("5s", 15.0), ("1m", 60.0)])
async def test_a_tick_is_as_patient_as_one_page_may_need(it: Bench, page: str, patience: float) -> None:
    it.create(prometheus={"timeout": page})
    assert it.loop.observer.in_a_tick(await _wanted(it)).patience == patience


async def test_a_tick_that_waits_for_its_metrics_server_is_not_reported_as_late(it: Bench) -> None:
    it.create(prometheus={"timeout": "1m"})
    now = 0.0
    it.operator.pulse.clock = lambda: now
    next_in = await it.tick()
    now = next_in + 60.0 + 30.0  # the wait, the patience, and a slow API server
    assert it.operator.pulse.late() == ()
    now = 3 * next_in + 60.0 + 31.0
    assert len(it.operator.pulse.late()) == 1


async def test_secrets_are_read_once_a_tick(it: Bench) -> None:
    async with FakePrometheus({"request_rate": 0.0}) as server:
        it.servers = MetricsServers()
        it.restart()
        token = {"metadata": {"name": "metrics"}, "data": {"token": base64.b64encode(b"t").decode()}}
        it.fake.store.create("secrets", "default", token)
        auth = {"bearerToken": {"name": "metrics", "key": "token"}}
        it.create(prometheus={"url": server.url, "timeout": "20s", "auth": auth})
        await it.tick()
        it.servers.close()
        assert len(server.asked) == 2  # the past, and sessions' pauses
    assert len([c for c in it.fake.calls if c.path.endswith("/secrets/metrics")]) == 1


async def test_a_new_object_gets_its_pools_before_its_metrics_server_is_asked(it: Bench) -> None:
    it.source = watching = _Watching(it=it)
    it.create()
    await it.tick()
    assert watching.found == [True]


async def _wanted(it: Bench) -> ServingDeployment:
    return read(Snapshot.of(it.fake.get(PLURAL, "chat")).body)

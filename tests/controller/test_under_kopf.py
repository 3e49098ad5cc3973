"""kopf itself, running against an API server over a socket."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from fakes.kube import PLURAL, FakeKube, Fault, serving_kube
from fakes.operator import Bench, eventually, ready, running
from fakes.serving import serving
from pdscale.controller.handlers import FINALIZER
from pdscale.controller.refusals import SETTLING
from pdscale.controller.under_kopf import kopf_operator
from pdscale.controller.wiring import CannotStart, run
from pdscale.settings import Settings


async def test_an_object_gets_its_children_its_status_and_our_finalizer_only(
    it: Bench, tmp_path: Path
) -> None:
    async with running(it, tmp_path):
        it.create()
        await eventually(
            lambda: ready(it) and bool(it.fake.get(PLURAL, "chat")["metadata"].get("finalizers"))
        )
        meta = it.fake.get(PLURAL, "chat")["metadata"]
        assert meta["finalizers"] == [FINALIZER]
        assert "annotations" not in meta
        assert it.fake.has("deployments", "chat-prefill")


async def test_kopf_neither_asks_for_crds_nor_namespaces_nor_writes_events(it: Bench, tmp_path: Path) -> None:
    async with running(it, tmp_path, namespaces=("default",)):
        it.create()
        await eventually(lambda: ready(it))
    listed = {c.path for c in it.fake.calls if c.method == "GET"}
    assert not any(p.endswith(("/namespaces", "/customresourcedefinitions")) for p in listed)
    assert not any("kopf" in str(e) for e in it.fake.events())


async def test_an_edit_wakes_the_daemon_before_its_interval(it: Bench, tmp_path: Path) -> None:
    async with running(it, tmp_path):
        it.create(scaling={"interval": "1h"})
        await eventually(lambda: ready(it))
        patch = {"spec": {"scaling": {"mode": "Paused"}}}
        it.fake.store.patch((PLURAL, "default", "chat"), patch, subresource="", manager="user", is_json=False)
        async with asyncio.timeout(SETTLING - 1):
            await eventually(lambda: it.condition("ScalingActive")[1] == "Paused")


async def test_an_annotation_wakes_the_daemon_as_an_edit_does(it: Bench, tmp_path: Path) -> None:
    async with running(it, tmp_path):
        it.create(scaling={"interval": "1h"})
        await eventually(lambda: ready(it))
        patch = {"metadata": {"annotations": {"autoscaling.keda.sh/paused": "true"}}}
        it.fake.store.patch((PLURAL, "default", "chat"), patch, subresource="", manager="user", is_json=False)
        async with asyncio.timeout(SETTLING - 1):
            await eventually(lambda: it.condition("ScalingActive")[1] == "PausedByAnnotation")


async def test_deletion_is_quick_and_takes_the_children_along(it: Bench, tmp_path: Path) -> None:
    async with running(it, tmp_path):
        it.create(scaling={"interval": "1h"})
        await eventually(
            lambda: ready(it) and bool(it.fake.get(PLURAL, "chat")["metadata"].get("finalizers"))
        )
        it.fake.store.delete((PLURAL, "default", "chat"))
        await eventually(lambda: not it.fake.has(PLURAL, "chat"))
        await eventually(lambda: not it.fake.has("deployments", "chat-prefill"))
        assert it.operator.pulse.late() == ()


async def test_an_object_from_before_the_start_is_served(it: Bench, tmp_path: Path) -> None:
    it.create()
    async with running(it, tmp_path):
        await eventually(lambda: ready(it))
    it.restart()
    it.fake.run_pods()
    async with running(it, tmp_path):
        await eventually(lambda: it.condition("Ready")[0] == "True")


async def test_a_forgotten_past_is_listed_again(it: Bench, tmp_path: Path) -> None:
    """410 Gone: the watch goes on, and what came meanwhile is seen."""
    async with running(it, tmp_path):
        it.create()
        await eventually(lambda: ready(it))
        it.fake.store.expire()
        second = serving()
        second["metadata"]["name"] = "other"
        it.fake.store.create(PLURAL, "default", second)
        await eventually(lambda: it.fake.has("deployments", "other-decode"))


async def test_an_unexpected_failure_is_tried_again_and_does_not_stop_the_others(
    it: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tick, failed = it.loop.tick, []

    class Flaky:
        forget = it.loop.forget

        async def tick(self, seen: object) -> float:
            if str(seen) == "default/broken":
                failed.append(seen)
                raise RuntimeError("a bug")
            return await tick(seen)  # type: ignore[arg-type]

    broken = serving()
    broken["metadata"]["name"] = "broken"
    it.fake.store.create(PLURAL, "default", broken)
    it.create()
    stop = asyncio.Event()
    config = Settings(kubeconfig=it.fake.kubeconfig(tmp_path / "config"))
    task = asyncio.create_task(kopf_operator(Flaky(), config, stop=stop, started=asyncio.Event()))
    await eventually(lambda: ready(it) and bool(failed))
    stop.set()
    await task


@pytest.fixture
async def fake() -> AsyncIterator[FakeKube]:
    async with serving_kube() as server:
        yield server


async def test_the_whole_process_serves_health_and_metrics_and_ends_on_demand(
    fake: FakeKube, tmp_path: Path, unused_tcp_port: int
) -> None:
    stop = asyncio.Event()
    settings = Settings(
        kubeconfig=fake.kubeconfig(tmp_path / "config"), admin_host="127.0.0.1", admin_port=unused_tcp_port
    )
    task = asyncio.create_task(run(settings, stop=stop))
    fake.store.create(PLURAL, "default", serving(prometheus={"url": "http://127.0.0.1:1"}))
    await eventually(lambda: bool(fake.get(PLURAL, "chat").get("status")))
    async with aiohttp.ClientSession(f"http://127.0.0.1:{unused_tcp_port}") as session:
        for path in ("/healthz", "/readyz"):
            async with session.get(path) as answer:
                assert (answer.status, await answer.text()) == (200, "ok")
        async with session.get("/metrics") as answer:
            text = await answer.text()
    assert 'pdscale_operator_ticks_total{result="ok"}' in text
    assert 'pdscale_operator_current_replicas{name="chat",namespace="default",role="decode"}' in text
    conditions = {c["type"]: c for c in fake.get(PLURAL, "chat")["status"]["conditions"]}
    assert conditions["MetricsAvailable"]["reason"] == "MetricsUnreachable"
    stop.set()
    await task


async def test_without_the_crd_the_process_says_what_is_missing(fake: FakeKube, tmp_path: Path) -> None:
    fake.faults.append(Fault(lambda c: c.path.startswith("/apis/pdscale.io"), status=404))
    settings = Settings(kubeconfig=fake.kubeconfig(tmp_path / "config"), admin_host="127.0.0.1", admin_port=0)
    with pytest.raises(CannotStart, match="apply the CRD first"):
        await run(settings)


async def test_it_runs_as_a_user_that_has_a_number_but_no_name(
    it: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nameless() -> str:
        raise KeyError("getpwuid(): uid not found: 65532")

    monkeypatch.setattr("getpass.getuser", nameless)
    async with running(it, tmp_path):
        it.create()
        await eventually(lambda: ready(it))

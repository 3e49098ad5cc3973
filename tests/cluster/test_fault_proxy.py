"""The proxy that fails on purpose: what it forwards, which calls a fault hits, and what their caller sees."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest

from fakes.kube import FakeKube, serving_kube
from pdscale_e2e.fault_proxy import Answer, Call, Do, Fault, FaultProxy, Mute

PODS = "/api/v1/namespaces/default/pods"


@pytest.fixture
async def fake() -> AsyncIterator[FakeKube]:
    async with serving_kube() as found:
        yield found


@pytest.fixture
def proxy(fake: FakeKube, tmp_path: Path) -> Iterator[FaultProxy]:
    with FaultProxy(Path(fake.kubeconfig(tmp_path / "kubeconfig"))) as found:
        yield found


@pytest.fixture
async def session(proxy: FaultProxy) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(proxy.url) as found:
        yield found


async def test_requests_and_answers_pass_as_they_are(
    fake: FakeKube, proxy: FaultProxy, session: aiohttp.ClientSession
) -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one", "labels": {"a": "b/c"}}}
    async with session.post(PODS, json=pod) as answer:
        assert answer.status == 201
    async with session.get(PODS, params={"labelSelector": "a=b/c"}) as answer:
        assert [p["metadata"]["name"] for p in (await answer.json())["items"]] == ["one"]
    async with session.get(f"{PODS}/two") as answer:
        assert answer.status == 404
    assert [(c.method, c.writes) for c in proxy.calls] == [("POST", True), ("GET", False), ("GET", False)]
    assert fake.has("pods", "one")


async def test_a_fault_skips_so_many_calls_hits_so_many_and_is_over(
    proxy: FaultProxy, session: aiohttp.ClientSession
) -> None:
    proxy.faults.append(Fault(lambda call: not call.writes, Answer(429, retry_after=7), times=2, skip=1))
    seen = []
    for _ in range(5):
        async with session.get(PODS) as answer:
            seen.append((answer.status, answer.headers.get("Retry-After")))
    assert seen == [(200, None), (429, "7"), (429, "7"), (200, None), (200, None)]


async def test_whoever_is_ended_before_a_write_gets_no_answer_and_nothing_is_written(
    fake: FakeKube, proxy: FaultProxy, session: aiohttp.ClientSession
) -> None:
    ended: list[str] = []
    proxy.faults.append(Fault(lambda call: call.writes, Do(lambda: ended.append("now")), times=1))
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one"}}
    with pytest.raises(TimeoutError):
        await session.post(PODS, json=pod, timeout=aiohttp.ClientTimeout(total=0.3))
    assert ended == ["now"]
    assert not fake.has("pods", "one")


async def test_a_muted_watch_stays_open_and_tells_nothing(
    fake: FakeKube, proxy: FaultProxy, session: aiohttp.ClientSession
) -> None:
    async with session.get(PODS, params={"watch": "true"}) as heard:
        assert b"BOOKMARK" in await heard.content.readline()
        fake.store.create("pods", "default", {"metadata": {"name": "one"}})
        assert b'"one"' in await heard.content.readline()
        proxy.faults.append(Fault(lambda call: call.watches, Mute()))
        fake.store.create("pods", "default", {"metadata": {"name": "two"}})
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await heard.content.readline()
        fake.store.end_watches()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await heard.content.readline()
        assert not heard.content.at_eof()


async def test_a_server_that_is_gone_is_a_connection_that_breaks(tmp_path: Path) -> None:
    config = tmp_path / "kubeconfig"
    async with serving_kube() as fake:
        fake.kubeconfig(config)
    with FaultProxy(config) as proxy:
        async with aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.ClientError):
                async with session.get(f"{proxy.url}{PODS}") as answer:
                    answer.raise_for_status()
    assert set(proxy.calls) == {Call("GET", PODS, watches=False)}  # the client's library tries again once


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/api/v1/namespaces/chat/pods/chat-decode-1", "pods"),
        ("/apis/apps/v1/namespaces/chat/deployments/chat-decode/scale", "deployments/scale"),
        ("/apis/events.k8s.io/v1/namespaces/chat/events", "events"),
        ("/apis/pdscale.io/v1alpha1/servingdeployments", ""),
    ],
)
def test_a_call_says_what_it_is_about(path: str, kind: str) -> None:
    assert Call("PATCH", path, watches=False).kind == kind

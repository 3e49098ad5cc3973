"""Faults of the API server, and what is done to an object, while replicas drain: nothing is lost for long."""

import asyncio
from pathlib import Path

import pytest

from fakes.drains import bound, busy, marked, tell
from fakes.kube import PLURAL, Fault
from fakes.operator import Bench, eventually, ready, running
from pdscale.controller.refusals import RETRY
from pdscale.controller.snapshot import Snapshot
from pdscale.controller.stored import READ_EVERY
from pdscale.kube.client import Kube
from pdscale.kube.errors import ApiUnavailable
from pdscale.kube.marks import DRAINING

KEY = (PLURAL, "default", "chat")


async def draining(it: Bench) -> None:
    """Three decode replicas of which the second drains."""
    await busy(it)
    bound(it, 2)
    await it.tick(after=5)
    assert set(marked(it)) == {"chat-decode-1"}


async def drained_and_gone(it: Bench) -> None:
    tell(it, "chat-decode-1", requests=0)
    for _ in range(2):
        await it.tick(after=15)
    it.fake.run_pods()
    await it.tick(after=15)
    assert it.replicas()[1] == 2
    assert [it.fake.has("pods", f"chat-decode-{n}") for n in range(3)] == [True, False, True]
    assert it.condition("ScalingActive")[:2] == ("True", "PlansApplied")


@pytest.mark.parametrize("status", [409, 429, 500, 503])
@pytest.mark.parametrize("where", ["pods/chat-decode-1", "deployments/chat-decode/scale", "chat/status"])
async def test_a_drain_converges_within_two_intervals_after_a_fault_and_a_restart(
    it: Bench, where: str, status: int
) -> None:
    await busy(it)
    it.fake.faults.append(
        Fault(lambda c: c.method == "PATCH" and c.path.endswith(where), status=status, times=1)
    )
    bound(it, 2)
    await it.tick(after=5)
    it.restart()
    await it.tick(after=15)
    await drained_and_gone(it)
    assert all(f.times == 0 for f in it.fake.faults)


@pytest.mark.parametrize(
    ("asked", "waits"),
    [("30", 30.0), ("1", RETRY), ("900", 60.0), ("", RETRY), ("Wed, 21 Oct 2026 07:28:00 GMT", RETRY)],
)
async def test_a_server_that_asks_to_be_left_alone_is(it: Bench, asked: str, waits: float) -> None:
    await draining(it)
    before = it.replicas()
    it.fake.faults.append(Fault(lambda c: "/pods" in c.path, status=429, retry_after=asked, times=1))
    tell(it, "chat-decode-1", requests=0)
    assert await it.tick(after=5) == waits
    assert it.replicas() == before
    await drained_and_gone(it)


async def test_how_long_it_asks_may_also_stand_in_the_answer(it: Bench, tmp_path: Path) -> None:
    it.fake.faults.append(Fault(lambda _: True, status=429, retry_after="7"))
    with pytest.raises(ApiUnavailable) as refused:
        await it.kube.get("/api/v1/namespaces/default/pods")
    assert refused.value.retry_after == 7.0


async def test_a_slow_server_holds_a_tick_no_longer_than_its_patience(it: Bench, tmp_path: Path) -> None:
    await draining(it)
    it.kube = await Kube.connect(it.fake.kubeconfig(tmp_path / "again"), patience=1.0)
    it.restart()
    it.fake.faults.append(Fault(lambda c: c.path.endswith("/pods"), silent=True, times=1))
    assert await it.tick(after=5) == RETRY
    await drained_and_gone(it)
    await it.kube.close()


async def test_a_watch_that_fell_silent_is_noticed_within_a_minute(it: Bench) -> None:
    await busy(it)
    old = Snapshot.of(it.fake.get(PLURAL, "chat"))
    bound(it, 5)
    it.now += READ_EVERY - 20
    await it.loop.tick(old)
    assert it.replicas()[1] == 3
    it.now += 20
    await it.loop.tick(old)
    assert it.replicas()[1] == 5
    it.now += 15
    await it.loop.tick(old)
    assert it.replicas()[1] == 5, "an old view is not believed again"


@pytest.mark.parametrize("recreated", [False, True])
async def test_an_object_that_is_gone_unheard_is_written_for_no_more(it: Bench, recreated: bool) -> None:
    await draining(it)
    old = Snapshot.of(it.fake.get(PLURAL, "chat"))
    it.fake.store.delete(KEY)
    if recreated:
        it.create()
    it.fake.calls.clear()
    it.now += READ_EVERY
    for _ in range(2):
        assert await it.loop.tick(old) == RETRY
    assert it.fake.writes() == []


async def test_an_edit_of_another_field_goes_on_with_the_drain(it: Bench) -> None:
    await draining(it)
    since = it.fake.get("pods", "chat-decode-1")["metadata"]["annotations"][DRAINING]
    patch = {"spec": {"engine": {"image": "engine:2"}, "gpuBudget": 9}}
    it.fake.store.patch(KEY, patch, subresource="", manager="user", is_json=False)
    await it.tick(after=5)
    assert it.fake.get("pods", "chat-decode-1")["metadata"]["annotations"][DRAINING] == since
    await drained_and_gone(it)


async def test_a_spec_that_became_invalid_leaves_the_drain_as_it_is_until_it_is_mended(it: Bench) -> None:
    await draining(it)
    it.fake.store.patch(
        KEY, {"spec": {"profile": {"name": "typo"}}}, subresource="", manager="user", is_json=False
    )
    await it.tick(after=60)
    assert (it.replicas()[1], set(marked(it))) == (3, {"chat-decode-1"})
    mended = {"spec": {"profile": {"name": "llama-3.1-8b-h100"}}}
    it.fake.store.patch(KEY, mended, subresource="", manager="user", is_json=False)
    await drained_and_gone(it)


async def test_an_object_that_is_deleted_while_it_drains_goes_at_once(it: Bench, tmp_path: Path) -> None:
    await draining(it)
    async with running(it, tmp_path):
        await eventually(lambda: bool(it.fake.get(PLURAL, "chat")["metadata"].get("finalizers")))
        it.fake.store.delete(KEY)
        await eventually(lambda: not it.fake.has(PLURAL, "chat"))
        assert not it.fake.has("deployments", "chat-decode")


async def test_an_object_that_is_made_again_while_it_drains_starts_anew(it: Bench, tmp_path: Path) -> None:
    await draining(it)
    before = it.fake.get(PLURAL, "chat")["metadata"]["uid"]
    async with running(it, tmp_path):
        await eventually(lambda: bool(it.fake.get(PLURAL, "chat")["metadata"].get("finalizers")))
        it.fake.store.delete(KEY)
        await eventually(lambda: not it.fake.has(PLURAL, "chat"))
        for number in range(3):
            it.fake.store.delete(("pods", "default", f"chat-decode-{number}"))
        it.fake.store.delete(("pods", "default", "chat-prefill-0"))
        it.create(decode={"minReplicas": 2})
        await eventually(lambda: it.fake.has("deployments", "chat-decode") and ready(it))
    it.fake.run_pods()
    await it.tick(after=5)
    assert it.fake.get(PLURAL, "chat")["metadata"]["uid"] != before
    assert (it.replicas()[1], marked(it)) == (2, {})


async def test_a_namespace_is_never_held_up_by_our_finalizer(it: Bench, tmp_path: Path) -> None:
    """Nothing can be made in it any more, and whatever is tried is refused."""
    await draining(it)
    async with running(it, tmp_path):
        await eventually(lambda: bool(it.fake.get(PLURAL, "chat")["metadata"].get("finalizers")))
        it.fake.store.terminating.add("default")
        for plural, _, name in list(it.fake.store.objects):
            if plural in ("deployments", "pods"):
                it.fake.store.delete((plural, "default", name))
        await asyncio.sleep(0)
        it.fake.store.delete(KEY)
        await eventually(lambda: not it.fake.has(PLURAL, "chat"))


async def test_two_that_both_think_they_lead_mark_the_same_replicas(it: Bench) -> None:
    """A frozen leader that wakes up: its view gives the same verdict, and what it repeats changes nothing."""
    await busy(it)
    bound(it, 1)
    await it.tick(after=5)
    first = {n: it.fake.get("pods", n)["metadata"]["annotations"] for n in marked(it)}
    it.restart()
    await it.tick()
    assert {n: it.fake.get("pods", n)["metadata"]["annotations"] for n in marked(it)} == first

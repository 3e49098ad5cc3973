"""Watches that only count, on an API server over a socket: what is heard, and when nobody can be sure."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fakes.kube import FakeKube, Fault, serving_kube
from fakes.operator import eventually
from pdscale.kube.changes import MOST_NAMESPACES, Changes, Mark
from pdscale.kube.client import Kube

LABELS = {"pdscale.io/deployment": "chat"}


@pytest.fixture
async def fake(tmp_path: Path) -> AsyncIterator[FakeKube]:
    async with serving_kube() as found:
        found.kubeconfig(tmp_path / "kubeconfig")
        yield found


@pytest.fixture
async def kube(fake: FakeKube, tmp_path: Path) -> AsyncIterator[Kube]:
    found = await Kube.connect(str(tmp_path / "kubeconfig"), patience=2.0)
    yield found
    await found.close()


def pod(fake: FakeKube, name: str, **labels: str) -> None:
    made = {"metadata": {"name": name, "labels": labels or LABELS}, "spec": {}}
    fake.store.create("pods", "default", made)


async def marked(changes: Changes) -> Mark:
    await eventually(lambda: changes.mark("default", "chat") is not None)
    found = changes.mark("default", "chat")
    assert found is not None
    return found


async def test_an_event_changes_the_mark_of_its_owner_alone(fake: FakeKube, kube: Kube) -> None:
    pod(fake, "there-before")
    changes = Changes(kube, again=0.01)
    assert changes.mark("default", "chat") is None, "nobody listens"
    async with changes.listening():
        before, other = await marked(changes), changes.mark("default", "code")
        pod(fake, "chat-0")
        await eventually(lambda: changes.mark("default", "chat") != before)
        made = changes.mark("default", "chat")
        fake.patch_status(("pods", "default", "chat-0"), {"status": {"phase": "Running"}})
        await eventually(lambda: changes.mark("default", "chat") != made)
        assert changes.mark("default", "code") == other
        assert changes.mark("elsewhere", "chat") == other
    assert changes.mark("default", "chat") is None


async def test_a_deployment_that_goes_is_heard_of(fake: FakeKube, kube: Kube) -> None:
    fake.store.create("deployments", "default", {"metadata": {"name": "chat-decode", "labels": LABELS}})
    changes = Changes(kube, ("default",), again=0.01)
    async with changes.listening():
        before = await marked(changes)
        fake.store.delete(("deployments", "default", "chat-decode"))
        await eventually(lambda: changes.mark("default", "chat") != before)


async def test_a_watch_that_the_server_ends_goes_on_where_it_was(fake: FakeKube, kube: Kube) -> None:
    changes = Changes(kube, again=0.01)
    async with changes.listening():
        before = await marked(changes)
        ended = list(fake.store.watches)
        fake.store.end_watches()
        await eventually(lambda: len(fake.store.watches) == 2 and not set(map(id, ended)) & ids(fake))
        assert changes.mark("default", "chat") == before, "nothing was missed"
        pod(fake, "chat-0")
        await eventually(lambda: changes.mark("default", "chat") != before)


async def test_after_events_were_missed_no_former_mark_counts(fake: FakeKube, kube: Kube) -> None:
    changes = Changes(kube, again=0.01)
    async with changes.listening():
        before = await marked(changes)
        fake.store.expire()
        await eventually(lambda: changes.mark("default", "chat") not in (None, before))
        assert await marked(changes) != before


async def test_without_the_right_to_watch_there_are_no_marks(fake: FakeKube, kube: Kube) -> None:
    fake.faults.append(Fault(lambda call: call.watches and call.path.endswith("/pods"), status=403))
    changes = Changes(kube, again=0.01)
    async with changes.listening():
        await eventually(lambda: sum(call.watches for call in fake.calls) > 5)
        assert changes.mark("default", "chat") is None


async def test_many_namespaces_would_take_too_many_connections(fake: FakeKube, kube: Kube) -> None:
    changes = Changes(kube, tuple(f"team-{i}" for i in range(MOST_NAMESPACES + 1)))
    async with changes.listening():
        assert changes.mark("team-1", "chat") is None
    assert fake.calls == []


def ids(fake: FakeKube) -> set[int]:
    return set(map(id, fake.store.watches))

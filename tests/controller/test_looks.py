"""A tick at rest judges by the look before it, as long as nobody has heard of a change."""

import math
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from fakes.kube import PLURAL
from fakes.operator import Bench, bench, eventually
from pdscale.controller.looks import OLDEST

LISTED = ["deployments", "pods"]


@pytest.fixture
async def it(tmp_path: Path) -> AsyncIterator[Bench]:
    """Settled, with watches that run and a look that is new."""
    async with bench(tmp_path) as found:
        found.source.rate = math.nan
        found.create(gpuBudget=8, prefill={"maxReplicas": 2}, decode={"maxReplicas": 4})
        async with found.operator.changes.listening():
            await eventually(lambda: found.operator.changes.mark("default", "chat") is not None)
            for _ in range(4):
                await found.tick(after=15)
                found.fake.run_pods()
                await heard(found)
            await found.tick(after=OLDEST * 15)  # the former look is too old now, and this one is new
            found.fake.calls.clear()
            yield found


async def heard(it: Bench) -> None:
    """Until watches have told all that has happened; they were there before the first Deployment and pod."""
    happened = sum(plural in LISTED for _, _, plural, _ in it.fake.store.history)
    await eventually(lambda: count(it) == happened)


def count(it: Bench) -> int:
    mark = it.operator.changes.mark("default", "chat")
    return -1 if mark is None else mark[1]


def listed(it: Bench) -> list[str]:
    found = sorted(call.path.rpartition("/")[2] for call in it.fake.calls if not call.watches)
    it.fake.calls.clear()
    return [name for name in found if name in LISTED]


def bound(it: Bench, **spec: Any) -> None:
    patch = {"spec": spec}
    it.fake.store.patch((PLURAL, "default", "chat"), patch, subresource="", manager="user", is_json=False)


async def test_what_stands_still_is_listed_once_in_four_intervals(it: Bench) -> None:
    looks = list[list[str]]()
    for _ in range(2 * OLDEST):
        await it.tick(after=15)
        looks.append(listed(it))
    assert looks.count(LISTED) == 2
    assert looks.count([]) == 2 * OLDEST - 2
    assert it.condition("Ready")[0] == "True"


async def test_a_pod_that_changes_is_seen_at_the_next_tick(it: Bench) -> None:
    await it.tick(after=15)
    assert listed(it) == []
    before = count(it)
    gone = {"status": {"conditions": [{"type": "Ready", "status": "False"}]}}
    it.fake.patch_status(("pods", "default", "chat-decode-0"), gone)
    await eventually(lambda: count(it) > before)
    await it.tick(after=15)
    assert listed(it) == LISTED
    assert it.condition("Ready")[0] == "False"
    await it.tick(after=1)
    assert listed(it) == LISTED, "nothing is at rest yet"


async def test_another_spec_is_judged_by_a_new_look(it: Bench) -> None:
    await it.tick(after=15)
    assert listed(it) == []
    bound(it, decode={"minReplicas": 3, "maxReplicas": 4})
    await it.tick(after=1)
    assert listed(it) == LISTED
    assert it.replicas()[1] == 3


async def test_a_plan_that_differs_is_made_again_on_a_new_look_before_it_is_written(it: Bench) -> None:
    """A pod that no watch has told of holds the last GPU, so by the former look there would be room."""
    bound(it, gpuBudget=it.replicas()[0] + it.replicas()[1] + 1)
    for _ in range(2):
        await it.tick(after=1)
    await heard(it)
    await it.tick(after=1)
    listed(it)
    await it.tick(after=1)
    assert listed(it) == []
    watches, it.fake.store.watches = it.fake.store.watches, []
    leaving = {
        "metadata": {
            "name": "chat-decode-9",
            "labels": it.fake.get("pods", "chat-decode-0")["metadata"]["labels"],
            "deletionTimestamp": "2100-01-01T00:00:00Z",
            "finalizers": ["test/held"],
        },
        "spec": {"nodeName": "n"},
    }
    it.fake.store.create("pods", "default", leaving, "kubelet")
    before = it.replicas()
    it.source.rate = 40.0
    writes = list[tuple[int, int]]()
    for _ in range(3):
        await it.tick(after=1)
        writes.append(it.replicas())
    assert writes == [before] * 3
    assert LISTED[1] in listed(it), "it has looked before it would have written"
    it.fake.store.watches = watches


async def test_what_a_watch_does_not_tell_is_seen_within_a_minute(it: Bench) -> None:
    await it.tick(after=15)
    it.fake.store.watches, watches = [], it.fake.store.watches
    gone = {"status": {"conditions": [{"type": "Ready", "status": "False"}]}}
    it.fake.patch_status(("pods", "default", "chat-decode-0"), gone)
    for _ in range(OLDEST):
        await it.tick(after=15)
    assert it.condition("Ready")[0] == "False"
    it.fake.store.watches = watches


async def test_without_a_watch_each_tick_looks(it: Bench) -> None:
    it.restart()
    await it.tick(after=15)
    for _ in range(3):
        it.fake.calls.clear()
        await it.tick(after=15)
        assert listed(it) == LISTED

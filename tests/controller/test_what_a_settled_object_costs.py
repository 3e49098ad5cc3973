"""While nothing has to be done, ticks ask little and write nothing: many objects share one API server."""

import math
from collections.abc import Sequence
from typing import Any

from fakes.kube import PLURAL
from fakes.operator import Bench
from pdscale.api.v1alpha1 import ServingDeployment
from pdscale.controller.children import REPAIR_EVERY
from pdscale.controller.snapshot import Snapshot
from pdscale.kube.client import Object

KEY = ("deployments", "default", "chat-decode")


async def settled(it: Bench) -> None:
    it.source.rate = math.nan
    it.create()
    for _ in range(3):
        await it.tick(after=15)
        it.fake.run_pods()
    await it.tick(after=REPAIR_EVERY)
    it.fake.calls.clear()


def asked(it: Bench) -> list[str]:
    return sorted(call.path.rpartition("/")[2] for call in it.fake.calls)


async def test_a_tick_lists_deployments_and_pods_once(it: Bench) -> None:
    await settled(it)
    await it.tick(after=15)
    assert asked(it) == ["deployments", "pods"]


async def test_nothing_is_written_however_long_nothing_happens(it: Bench) -> None:
    await settled(it)
    for _ in range(10):
        await it.tick(after=REPAIR_EVERY)
    assert it.fake.writes() == []
    assert "services" in {call.path.split("/")[-2] for call in it.fake.calls}, "children were looked at"


async def test_manifests_are_rendered_anew_only_for_another_spec(it: Bench) -> None:
    await settled(it)
    rendered, render = list[int](), it.loop.render

    def counted(deployment: ServingDeployment, **origin: Any) -> Sequence[Object]:
        rendered.append(deployment.metadata.generation)
        return render(deployment, **origin)

    it.loop.render = counted
    for _ in range(5):
        await it.tick(after=15)
    assert rendered == []
    patch = {"spec": {"router": {"replicas": 3}}}
    it.fake.store.patch((PLURAL, "default", "chat"), patch, subresource="", manager="user", is_json=False)
    await it.tick(after=15)
    assert set(rendered) == {it.fake.get(PLURAL, "chat")["metadata"]["generation"]}
    assert it.fake.get("deployments", "chat-router")["spec"]["replicas"] == 3


async def test_what_others_change_of_ours_is_repaired_and_what_they_add_is_left(it: Bench) -> None:
    await settled(it)
    service = ("services", "default", "chat")
    ours = it.fake.get("services", "chat")["metadata"]["labels"]["app.kubernetes.io/managed-by"]
    changed = {"metadata": {"labels": {"app.kubernetes.io/managed-by": "me"}}}
    it.fake.store.patch(service, changed, subresource="", manager="kubectl-edit", is_json=False)
    added = {"metadata": {"labels": {"team": "chat"}}}
    it.fake.store.patch(KEY, added, subresource="", manager="kubectl-label", is_json=False)
    await it.tick(after=REPAIR_EVERY)
    assert [call.path for call in it.fake.writes()] == ["/api/v1/namespaces/default/services/chat"]
    assert it.fake.get("services", "chat")["metadata"]["labels"]["app.kubernetes.io/managed-by"] == ours
    assert it.fake.get("deployments", "chat-decode")["metadata"]["labels"]["team"] == "chat"


async def test_a_child_that_somebody_made_again_is_claimed_again(it: Bench) -> None:
    await settled(it)
    bare = it.fake.get("services", "chat")
    it.fake.store.delete(("services", "default", "chat"))
    meta = {"name": "chat", "ownerReferences": bare["metadata"]["ownerReferences"]}
    it.fake.store.create("services", "default", {"metadata": meta, "spec": {}})
    await it.tick(after=REPAIR_EVERY)
    assert it.fake.get("services", "chat")["spec"] == bare["spec"]


async def test_a_snapshot_is_a_copy_without_the_claims_on_its_fields(it: Bench) -> None:
    await settled(it)
    view = it.fake.get(PLURAL, "chat")
    view["spec"]["list"] = [{"of": ["things"]}]
    assert "managedFields" in view["metadata"]
    seen = Snapshot.of(view)
    view["spec"]["list"][0]["of"].append("later")
    view["metadata"]["name"] = "other"
    assert (seen.name, seen.body["spec"]["list"]) == ("chat", [{"of": ["things"]}])
    assert "managedFields" not in seen.body["metadata"]

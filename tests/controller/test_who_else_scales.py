"""Somebody else scales what a ServingDeployment scales: nothing is written, and they are named."""

from typing import Any

import pytest

from fakes.kube import PLURAL, Fault
from fakes.operator import Bench
from fakes.serving import serving
from pdscale.kube.rivals import LOOK_EVERY, Rivals, Scaled

Json = dict[str, Any]
CHAT_DECODE = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "chat-decode"}


def hpa(it: Bench, target: Json, name: str = "cpu") -> None:
    body = {"metadata": {"name": name}, "spec": {"scaleTargetRef": target}}
    it.fake.store.create("horizontalpodautoscalers", "default", body)


def gang(it: Bench) -> None:
    """A scale of one replica that nobody claims."""
    body = {"metadata": {"name": "crew"}, "spec": {"selector": {"matchLabels": {"app": "crew"}}}}
    it.fake.store.create("gangs", "default", body)
    it.fake.store.objects["gangs", "default", "crew"]["spec"]["replicas"] = 1


def ref(version: str = "v1") -> Json:
    return {"scaleTargetRef": {"apiVersion": f"gangs.example.com/{version}", "kind": "Gang", "name": "crew"}}


def crew(it: Bench) -> int:
    found: int = it.fake.get("gangs", "crew")["spec"]["replicas"]
    return found


def elder(it: Bench, name: str, *, created: str, **spec: Any) -> None:
    body = serving(**spec)
    it.fake.store.create(PLURAL, "default", {**body, "metadata": {"name": name}})
    it.fake.store.objects[PLURAL, "default", name]["metadata"]["creationTimestamp"] = created


async def run(it: Bench, *, rate: float = 30.0, ticks: int = 5) -> None:
    it.source.rate = rate
    for _ in range(ticks):
        await it.tick(after=15)
        it.fake.run_pods()
    await it.tick(after=15)


async def test_an_autoscaler_on_a_pool_of_ours_stops_all_writes_until_it_is_gone(it: Bench) -> None:
    hpa(it, CHAT_DECODE)
    it.create()
    await run(it)
    assert it.replicas() == (1, 1)
    assert it.condition("ScalingActive") == (
        "False",
        "TargetShared",
        "decode: HorizontalPodAutoscaler cpu scales Deployment chat-decode, too; delete it, or set "
        "scaling.mode to Recommend",
    )
    assert it.status()["plan"]["decode"] > 1, "the plan is still shown"
    it.fake.store.delete(("horizontalpodautoscalers", "default", "cpu"))
    it.now += LOOK_EVERY
    await run(it)
    assert sum(it.replicas()) > 2
    assert it.condition("ScalingActive")[:2] == ("True", "PlansApplied")


@pytest.mark.parametrize(
    "target",
    [
        pytest.param({**CHAT_DECODE, "name": "chat"}, id="another name"),
        pytest.param({**CHAT_DECODE, "kind": "StatefulSet"}, id="another kind"),
        pytest.param({**CHAT_DECODE, "apiVersion": "mine/v1"}, id="another group"),
    ],
)
async def test_an_autoscaler_of_something_else_is_nobodys_concern(it: Bench, target: Json) -> None:
    hpa(it, target)
    it.create()
    await run(it)
    assert sum(it.replicas()) > 2


async def test_taking_the_replicas_waits_as_well(it: Bench) -> None:
    hpa(it, CHAT_DECODE)
    it.create()
    said = {"metadata": {"annotations": {"pdscale.io/take-replicas": "now"}}}
    it.fake.store.patch((PLURAL, "default", "chat"), said, subresource="", manager="user", is_json=False)
    await run(it)
    assert "tookReplicas" not in it.status()


async def test_the_older_of_two_objects_keeps_the_target(it: Bench) -> None:
    gang(it)
    elder(it, "before", created="2020-01-01T00:00:00Z", decode=ref())
    it.create(decode=ref())
    await run(it)
    assert crew(it) == 1
    status, reason, message = it.condition("ScalingActive")
    assert (status, reason) == ("False", "TargetShared")
    assert message.startswith(
        "decode: Gang crew is decode of ServingDeployment before, which was there before;"
    )


async def test_an_older_object_that_only_recommends_is_in_nobodys_way(it: Bench) -> None:
    gang(it)
    before = {"decode": ref(), "scaling": {"mode": "Recommend"}}
    elder(it, "before", created="2020-01-01T00:00:00Z", **before)
    it.create(decode=ref())
    await run(it)
    assert crew(it) > 1


async def test_the_version_of_a_target_makes_no_other_target(it: Bench) -> None:
    gang(it)
    elder(it, "before", created="2020-01-01T00:00:00Z", prefill=ref("v1beta1"))
    it.create(decode=ref())
    await run(it)
    assert it.condition("ScalingActive")[1] == "TargetShared"


async def test_a_younger_object_changes_nothing_for_the_older_one(it: Bench) -> None:
    gang(it)
    it.create(decode=ref())
    elder(it, "after", created="2030-01-01T00:00:00Z", decode=ref())
    await run(it)
    assert crew(it) > 1
    assert it.condition("ScalingActive")[:2] == ("True", "PlansApplied")


async def test_who_makes_a_deployment_keeps_it_though_it_is_younger(it: Bench) -> None:
    it.create(prefill={"scaleTargetRef": {**CHAT_DECODE, "name": "owner-decode"}})
    elder(it, "owner", created="2030-01-01T00:00:00Z")
    pod = {"metadata": {"labels": {"app": "x"}}, "spec": {}}
    spec = {"replicas": 1, "selector": {"matchLabels": {"app": "x"}}, "template": pod}
    it.fake.store.create("deployments", "default", {"metadata": {"name": "owner-decode"}, "spec": spec})
    await run(it)
    assert "which was there before" in it.condition("ScalingActive")[2]
    assert it.fake.get("deployments", "owner-decode")["spec"]["replicas"] == 1


async def test_a_settled_object_asks_for_autoscalers_once_in_two_minutes(it: Bench) -> None:
    it.create()
    await run(it, rate=0.5)
    it.fake.calls.clear()
    for _ in range(16):
        await it.tick(after=15)
    asked = [c for c in it.fake.calls if c.path.endswith("/horizontalpodautoscalers")]
    assert len(asked) == 2


async def test_autoscalers_that_we_may_not_list_are_no_reason_to_stop(it: Bench) -> None:
    it.fake.faults.append(Fault(lambda call: call.path.endswith("autoscalers"), status=403))
    it.create()
    await run(it)
    assert sum(it.replicas()) > 2


async def test_who_asks_is_listed_as_it_is_now(it: Bench) -> None:
    rivals = Rivals(it.kube, lambda: it.now)
    it.create()
    meta = it.fake.get(PLURAL, "chat")["metadata"]
    first = await rivals.objects("default", uid=meta["uid"], generation=1)
    elder(it, "other", created="2020-01-01T00:00:00Z")
    assert await rivals.objects("default", uid=meta["uid"], generation=1) == first
    assert len(await rivals.objects("default", uid=meta["uid"], generation=2)) == 2


@pytest.mark.parametrize(
    ("ref", "scaled"),
    [
        pytest.param({"name": "a"}, Scaled("apps", "Deployment", "a"), id="KEDA's defaults"),
        pytest.param(
            {"apiVersion": "v1", "kind": "ReplicationController", "name": "a"},
            Scaled("", "ReplicationController", "a"),
            id="the core group",
        ),
    ],
)
def test_a_reference_names_a_group_and_no_version(ref: Json, scaled: Scaled) -> None:
    assert Scaled.of(ref) == scaled

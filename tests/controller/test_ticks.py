"""One object through its ticks, on an API server over a socket and with a clock of the test's own."""

import math

import pytest

from fakes.kube import PLURAL, Fault
from fakes.kube_fields import merge_patch
from fakes.operator import Bench
from pdscale.controller.conditions import ALL
from pdscale.controller.refusals import SETTLING
from pdscale.kube.scale import template_owns_replicas

CHILDREN = [
    ("serviceaccounts", "chat-router"),
    ("rolebindings", "chat-router"),
    ("services", "chat"),
    ("services", "chat-prefill"),
    ("services", "chat-decode"),
    ("deployments", "chat-router"),
    ("deployments", "chat-prefill"),
    ("deployments", "chat-decode"),
]


async def settled(it: Bench, *, rate: float = math.nan, ticks: int = 6) -> None:
    """Tick until pods and plan agree."""
    it.source.rate = rate
    for _ in range(ticks):
        await it.tick(after=15)
        it.fake.run_pods()
    await it.tick(after=15)


async def test_the_first_tick_makes_all_children_owned_by_the_object(it: Bench) -> None:
    it.create()
    await it.tick()
    uid = it.fake.get(PLURAL, "chat")["metadata"]["uid"]
    for plural, name in CHILDREN:
        (owner,) = it.fake.get(plural, name)["metadata"]["ownerReferences"]
        assert owner["uid"] == uid, name


async def test_a_new_pool_starts_with_its_min_replicas_and_we_give_them_out_of_hand(it: Bench) -> None:
    it.create(prefill={"minReplicas": 0}, decode={"minReplicas": 3}, scaling={"mode": "Paused"})
    await it.tick()
    assert it.replicas() == (0, 3)
    for name in ("chat-prefill", "chat-decode"):
        assert not template_owns_replicas(it.fake.get("deployments", name))


async def test_demand_grows_both_pools_and_its_end_shrinks_them(it: Bench) -> None:
    it.create()
    await settled(it, rate=30.0)
    prefill, decode = it.replicas()
    assert prefill > 1
    assert decode > 1
    await settled(it, rate=0.5)
    assert it.replicas() < (prefill, decode)
    assert it.condition("ScalingActive")[:2] == ("True", "PlansApplied")


async def test_a_settled_object_is_written_to_no_more(it: Bench) -> None:
    it.create()
    await settled(it, rate=20.0)
    it.fake.calls.clear()
    for _ in range(3):
        assert await it.tick(after=1) == 15.0
    assert it.fake.writes() == []


async def test_silence_of_the_metrics_server_is_told_once_and_holds_the_replicas(it: Bench) -> None:
    it.create()
    await settled(it, rate=20.0)
    before = it.replicas()
    it.source.down = "http://prometheus:9090: no answer within 5s"
    await it.tick(after=15)
    status, reason, message = it.condition("MetricsAvailable")
    assert (status, reason) == ("False", "MetricsUnreachable")
    assert message == "http://prometheus:9090: no answer within 5s; replicas are held"
    it.fake.calls.clear()
    for _ in range(3):
        await it.tick(after=1)
    assert (it.replicas(), it.fake.writes()) == (before, [])


async def test_figures_that_are_too_old_are_no_figures(it: Bench) -> None:
    it.create()
    await settled(it, rate=math.nan)
    assert it.condition("MetricsAvailable")[:2] == ("False", "MetricsStale")
    assert it.condition("SLOAttainable")[0] == "Unknown"
    assert "forecast" not in it.status()


async def test_ready_needs_both_pools_and_a_router(it: Bench) -> None:
    it.create()
    await it.tick()
    assert it.condition("Ready") == (
        "False",
        "PoolsNotReady",
        "replicas ready: prefill 0 of at least 1, decode 0 of at least 1",
    )
    it.fake.run_pods()
    it.fake.patch_status(("deployments", "default", "chat-router"), {"status": {"readyReplicas": 0}})
    await it.tick(after=5)
    assert it.condition("Ready")[1] == "RouterNotReady"
    it.fake.run_pods()
    await it.tick(after=5)
    assert it.condition("Ready")[:2] == ("True", "PoolsReady")
    assert it.status()["prefill"]["summary"] == "1/1"


async def test_what_cannot_be_carried_is_said_and_not_clamped_in_silence(it: Bench) -> None:
    it.create(gpuBudget=4)
    await settled(it, rate=500.0)
    status, reason, message = it.condition("SLOAttainable")
    assert (status, reason) == ("False", "SLOUnattainable")
    assert "gpuBudget 4" in message or "maxReplicas" in message
    assert sum(it.replicas()) == 4


async def test_the_budget_holds_at_every_instant_of_a_rebalance(it: Bench) -> None:
    """Pods that go hold their GPUs: a pool grows only into what is really free."""
    it.create(gpuBudget=6)
    await settled(it, rate=500.0)
    held = it.status()["gpus"]["held"]
    assert held == 6
    patch = {"spec": {"prefill": {"minReplicas": 1, "maxReplicas": 1}}}
    it.fake.store.patch((PLURAL, "default", "chat"), patch, subresource="", manager="user", is_json=False)
    await it.tick(after=15)
    assert sum(it.replicas()) <= 6
    await it.tick(after=5)
    assert it.condition("BudgetSatisfied")[0] == "True"
    assert sum(it.replicas()) <= 6


async def test_more_gpus_held_than_allowed_is_a_condition(it: Bench) -> None:
    it.create(scaling={"mode": "Paused"}, prefill={"minReplicas": 3}, decode={"minReplicas": 3}, gpuBudget=6)
    await it.tick()
    it.fake.store.scale(("deployments", "default", "chat-decode"), 5, manager="kubectl", operation="Update")
    await it.tick(after=5)
    assert it.condition("BudgetSatisfied") == ("False", "OverBudget", "8 GPUs are held, gpuBudget 6")


@pytest.mark.parametrize(("mode", "reason"), [("Recommend", "RecommendOnly"), ("Paused", "Paused")])
async def test_a_plan_that_may_not_be_applied_is_not(it: Bench, mode: str, reason: str) -> None:
    it.create(scaling={"mode": mode})
    await settled(it, rate=30.0)
    assert it.replicas() == (1, 1)
    assert it.condition("ScalingActive")[:2] == ("False", reason)
    assert bool(it.source.asked) is (mode == "Recommend")
    if mode == "Recommend":
        assert it.status()["plan"]["decode"] > 1


async def test_another_writer_of_replicas_is_named_and_left_alone(it: Bench) -> None:
    it.create()
    await it.tick()
    it.fake.store.scale(
        ("deployments", "default", "chat-decode"), 2, manager="kube-controller-manager", operation="Update"
    )
    await settled(it, rate=60.0)
    status, reason, message = it.condition("ScalingActive")
    assert (status, reason) == ("False", "ReplicasOwnedElsewhere")
    assert message.startswith("decode: kube-controller-manager set the replicas; the annotation ")
    assert it.replicas()[1] == 2
    assert it.replicas()[0] > 1


async def test_an_invalid_spec_changes_nothing_and_names_field_value_and_bound(it: Bench) -> None:
    it.create()
    await settled(it, rate=20.0)
    before = it.replicas()
    # An older CRD may let through what this operator knows to be wrong.
    patch = {"spec": {"gpuBudget": 1}}
    it.fake.store.patch((PLURAL, "default", "chat"), patch, subresource="", manager="user", is_json=False)
    it.fake.calls.clear()
    assert await it.tick(after=15) == 60.0
    status, reason, message = it.condition("Ready")
    assert (status, reason) == ("False", "InvalidSpec")
    assert "gpuBudget must be at least 2" in message
    assert "got 1" in message
    assert it.replicas() == before
    assert [c.path for c in it.fake.writes() if "events" not in c.path] == [
        "/apis/pdscale.io/v1alpha1/namespaces/default/servingdeployments/chat/status"
    ]
    assert {c["type"] for c in it.status()["conditions"]} == set(ALL)
    assert it.status()["prefill"]["ready"] == before[0], "figures stay as they were"


async def test_an_object_that_was_never_valid_says_so_in_an_event(it: Bench) -> None:
    it.create(profile={"name": "llama-3.1-8b-h1000"})
    await it.tick()
    (event,) = it.fake.events()
    assert (event["type"], event["reason"]) == ("Warning", "InvalidSpec")
    assert "llama-3.1-8b-h100" in event["note"]


async def test_a_profile_that_is_not_there_is_the_users_to_add(it: Bench) -> None:
    it.create(profile={"name": None, "configMap": {"name": "mine", "key": "p.yaml"}})
    body = it.fake.get(PLURAL, "chat")
    body["spec"]["profile"].pop("name")
    it.fake.store.objects[(PLURAL, "default", "chat")] = body
    await it.tick()
    assert it.condition("Ready")[2] == "spec.profile.configMap.name must be a ConfigMap in default, got mine"
    it.fake.store.create("configmaps", "default", {"metadata": {"name": "mine"}, "data": {}})
    await it.tick(after=60)
    assert it.condition("Ready")[2] == "spec.profile.configMap.key must be in ConfigMap mine, got p.yaml"


async def test_a_foreign_object_under_a_childs_name_is_not_touched(it: Bench) -> None:
    it.fake.store.create("services", "default", {"metadata": {"name": "chat"}, "spec": {"type": "NodePort"}})
    it.create()
    await it.tick()
    assert it.condition("Ready") == ("False", "NameTaken", "Service chat exists and is not ours")
    assert it.fake.get("services", "chat")["spec"] == {"type": "NodePort"}


async def test_a_child_that_was_changed_or_deleted_is_repaired_within_a_minute(it: Bench) -> None:
    it.create()
    await settled(it)
    key = ("deployments", "default", "chat-decode")
    drift = {"spec": {"template": {"spec": {"serviceAccountName": "root"}}}}
    it.fake.store.patch(key, drift, subresource="", manager="kubectl-edit", is_json=False)
    it.fake.store.delete(("services", "default", "chat"))
    it.fake.store.delete(("deployments", "default", "chat-prefill"))
    await it.tick(after=5)
    assert it.fake.has("deployments", "chat-prefill"), "a lost pool is brought back at once"
    await it.tick(after=60)
    assert it.fake.has("services", "chat")
    assert it.fake.get(*key[::2])["spec"]["template"]["spec"]["serviceAccountName"] == "chat-router"


async def test_a_template_change_keeps_the_replicas(it: Bench) -> None:
    it.create()
    await settled(it, rate=30.0)
    before = it.replicas()
    patch = {"spec": {"router": {"image": "other:1"}}}
    it.fake.store.patch((PLURAL, "default", "chat"), patch, subresource="", manager="user", is_json=False)
    for _ in range(2):  # one role after the other
        await it.tick(after=1)
        it.fake.run_pods()
    assert it.replicas() == before
    pod = it.fake.get("deployments", "chat-decode")["spec"]["template"]["spec"]
    assert "other:1" in str(pod)


async def test_a_restart_in_the_middle_of_a_resize_goes_on_where_it_was(it: Bench) -> None:
    it.create(scaling={"scaleDownWindow": "300s"})
    await settled(it, rate=30.0)
    high = it.replicas()
    it.source.rate = 0.5
    await it.tick(after=15)
    it.restart()
    it.fake.calls.clear()
    await it.tick(after=15)
    assert it.replicas() == high, "a restart does not shorten the scale-down window"
    assert not any(c.path.endswith("/scale") for c in it.fake.writes())
    for _ in range(22):
        await it.tick(after=15)
        it.fake.run_pods()
    assert it.replicas() < high


def _crashes_at(it: Bench, path: str) -> None:
    it.fake.faults.append(Fault(lambda c: c.method == "PATCH" and c.path.endswith(path), times=1))


@pytest.mark.parametrize(
    "where",
    ["services/chat", "deployments/chat-prefill", "deployments/chat-decode/scale", "chat/status"],
)
async def test_a_write_that_fails_anywhere_is_made_up_for_by_the_next_tick(it: Bench, where: str) -> None:
    it.create(decode={"minReplicas": 2})
    _crashes_at(it, where)
    assert await it.tick() == 10.0
    it.restart()
    await settled(it)
    assert it.replicas() == (1, 2)
    assert it.condition("Ready")[0] == "True"
    assert it.operator.metrics.registry.get_sample_value("pdscale_operator_ticks_total", {"result": "ok"})


async def test_an_api_server_in_trouble_is_no_reason_to_change_anything(it: Bench) -> None:
    it.create()
    await settled(it, rate=20.0)
    before, stored = it.replicas(), it.status()
    it.fake.faults.append(Fault(lambda c: "/pods" in c.path, status=500))
    assert await it.tick(after=15) == 10.0
    assert (it.replicas(), it.status()) == (before, stored)


async def test_a_right_that_is_missing_is_a_condition_that_names_the_call(it: Bench) -> None:
    it.create()
    it.fake.faults.append(Fault(lambda c: "rolebindings" in c.path and c.method == "PATCH", status=403))
    await it.tick()
    assert it.status() == {}, "an API server that has just started refuses once"
    await it.tick(after=10)
    status, reason, message = it.condition("Ready")
    assert (status, reason) == ("False", "ApiRefusedForbidden")
    assert "rolebindings/chat-router: 403" in message


async def test_a_namespace_that_goes_is_left_in_peace(it: Bench, caplog: pytest.LogCaptureFixture) -> None:
    it.create()
    await settled(it)
    before = it.status()
    caplog.clear()
    it.fake.store.terminating.add("default")
    for plural, name in reversed(CHILDREN):
        it.fake.store.delete((plural, "default", name))
        await it.tick(after=15)
    assert it.status() == before
    assert caplog.text == ""


async def test_an_object_that_vanished_meanwhile_is_no_error(it: Bench) -> None:
    it.create()
    await it.tick()
    it.fake.faults.append(Fault(lambda c: c.writes_status, status=404))
    it.fake.run_pods()
    await it.tick(after=15)


async def test_each_resize_is_an_event_with_its_reasons(it: Bench) -> None:
    it.create()
    await settled(it, rate=30.0)
    notes = [e["note"] for e in it.fake.events() if e["reason"] == "Scaled"]
    assert any(n.startswith("decode 1 -> ") and "ForecastDemand" in n for n in notes)


async def test_the_same_observations_give_the_same_plans(it: Bench) -> None:
    """What is recorded from a cluster can be played again."""
    rates = [2.0, 30.0, 30.0, 5.0, 0.5, 40.0]
    runs = []
    for _ in range(2):
        it.create()
        plans = []
        for rate in rates:
            it.source.rate = rate
            await it.tick(after=15)
            it.fake.run_pods()
            plans.append((it.replicas(), merge_patch(it.status()["plan"], {"time": None})))
        runs.append(plans)
        it.fake.store.delete((PLURAL, "default", "chat"))
        for key in [k for k in it.fake.store.objects if k[0] == "pods"]:
            it.fake.store.delete(key)
        it.now -= 15 * len(rates)
        it.restart()
    assert runs[0] == runs[1]


async def test_gauges_of_a_deleted_object_vanish_with_it(it: Bench) -> None:
    from pdscale.controller.snapshot import Snapshot

    it.create()
    await settled(it, rate=20.0)
    labels = {"namespace": "default", "name": "chat", "role": "decode"}
    value = it.operator.metrics.registry.get_sample_value
    assert value("pdscale_operator_desired_replicas", labels) == it.replicas()[1]
    assert value("pdscale_operator_ready_replicas", labels) == it.replicas()[1]
    whole = {"namespace": "default", "name": "chat"}
    assert value("pdscale_operator_gpus_held", whole) == sum(it.replicas())
    assert value("pdscale_operator_condition", {**whole, "type": "Ready"}) == 1
    it.loop.forget(Snapshot.of(it.fake.get(PLURAL, "chat")))
    assert value("pdscale_operator_desired_replicas", labels) is None


async def test_an_object_made_again_waits_for_the_gpus_of_its_predecessors_pods(it: Bench) -> None:
    it.create(gpuBudget=4, prefill={"minReplicas": 2}, decode={"minReplicas": 2})
    await settled(it)
    pods = [key for key in it.fake.store.objects if key[0] == "pods" and "chat-router" not in key[2]]
    for key in pods:
        it.fake.store.objects[key]["metadata"] |= {"finalizers": ["drain"], "deletionTimestamp": "now"}
    it.fake.store.delete((PLURAL, "default", "chat"))
    it.create(gpuBudget=4, prefill={"minReplicas": 2}, decode={"minReplicas": 2})
    assert await it.tick(after=1) == SETTLING
    assert it.condition("Ready")[:2] == ("False", "WaitingForGPUs")
    assert "prefill and decode pods of before hold GPUs" in it.condition("Ready")[2]
    assert not it.fake.has("deployments", "chat-prefill")
    for key in pods:
        it.fake.store.objects[key]["metadata"]["finalizers"] = []
        it.fake.store.delete(key)
    await settled(it)
    assert it.replicas() == (2, 2)
    assert it.condition("Ready")[0] == "True"


async def test_a_lost_pool_is_made_again_at_once_while_nobody_is_going(it: Bench) -> None:
    it.create(gpuBudget=4, prefill={"minReplicas": 2}, decode={"minReplicas": 2})
    await settled(it)
    it.fake.store.delete(("deployments", "default", "chat-prefill"))
    for key in [k for k in it.fake.store.objects if k[0] == "pods" and "prefill" in k[2]]:
        it.fake.store.delete(key)
    await it.tick(after=5)
    assert it.replicas() == (2, 2)


async def test_a_behavior_bounds_how_fast_pools_change(it: Bench) -> None:
    limit = {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}]}
    it.create(scaling={"behavior": {"scaleUp": limit, "scaleDown": {"selectPolicy": "Disabled"}}})
    it.source.rate = 30.0
    seen, trails = [], set()
    for _ in range(12):
        await it.tick(after=15)
        it.fake.run_pods()
        seen.append(it.replicas()[1])
        trails |= {step["reason"] for step in it.status()["plan"]["trail"]}
    assert all(later - before <= 1 for before, later in zip(seen, seen[4:], strict=False)), seen
    assert seen[-1] > 1
    assert "Paced" in trails
    it.source.rate = 0.1
    for _ in range(6):
        await it.tick(after=60)
    assert it.replicas()[1] >= seen[-1]

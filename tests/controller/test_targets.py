"""A role whose replicas are those of an object that somebody else made."""

from typing import Any

import pytest

from fakes.kube import PLURAL, Fault
from fakes.operator import Bench

Json = dict[str, Any]
BLOCKED = "ScalingActive"


def ref(kind: str = "StatefulSet", api_version: str = "apps/v1", name: str = "engines") -> Json:
    return {"scaleTargetRef": {"apiVersion": api_version, "kind": kind, "name": name}}


def engines(it: Bench, plural: str = "statefulsets", *, gpus: int = 1, **spec: Any) -> None:
    """An object of somebody's with one replica, of which nobody claims the number."""
    labels = {"app": "engines"}
    container = {"name": "engine", "resources": {"limits": {"nvidia.com/gpu": str(gpus)}}}
    pod = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    made = {"selector": {"matchLabels": labels}, "template": pod, **spec}
    it.fake.store.create(plural, "default", {"metadata": {"name": "engines"}, "spec": made}, "helm")
    if "replicas" not in spec:
        key = (plural, "default", "engines")
        it.fake.store.objects[key]["spec"]["replicas"] = 1  # the server's default: nobody's


def replicas(it: Bench, plural: str = "statefulsets") -> int:
    found: int = it.fake.get(plural, "engines")["spec"]["replicas"]
    return found


async def run(it: Bench, *, rate: float | None = None, ticks: int = 5) -> None:
    if rate is not None:
        it.source.rate = rate
    for _ in range(ticks):
        await it.tick(after=15)
        it.fake.run_pods()
    await it.tick(after=15)


@pytest.mark.parametrize(
    ("plural", "named"),
    [
        pytest.param("statefulsets", ref(), id="StatefulSet"),
        pytest.param("deployments", ref("Deployment"), id="Deployment"),
        pytest.param("gangs", ref("Gang", "gangs.example.com/v1"), id="of a CRD"),
    ],
)
async def test_any_kind_with_a_scale_follows_the_load_and_only_its_scale_is_touched(
    it: Bench, plural: str, named: Json
) -> None:
    engines(it, plural)
    it.create(decode=named)
    await run(it, rate=30.0)
    grown = replicas(it, plural)
    assert grown > 1
    await run(it, rate=0.5)
    assert replicas(it, plural) < grown
    assert not it.fake.has("deployments", "chat-decode")
    assert it.fake.get("deployments", "chat-prefill")
    touched = {
        c.path.rpartition("engines")[2] for c in it.fake.calls if c.path.endswith(("engines", "scale"))
    }
    touched -= {c.path for c in it.fake.calls if "chat-" in c.path}
    assert touched == {"/scale"}
    assert it.condition(BLOCKED)[:2] == ("True", "PlansApplied")
    assert it.status()["decode"]["target"] == f"{named['scaleTargetRef']['kind']} engines"
    assert "target" not in it.status()["prefill"]


async def test_pods_of_a_target_are_found_by_its_selector_and_counted_within_the_budget(it: Bench) -> None:
    engines(it)
    it.create(decode=ref())
    await run(it, rate=500.0)
    status = it.status()
    assert status["decode"]["ready"] == status["decode"]["desired"] == replicas(it)
    assert status["gpus"] == {"budget": 10, "held": 10}


async def test_pods_of_a_target_that_end_slowly_keep_the_other_pool_from_growing(it: Bench) -> None:
    engines(it)
    it.create(decode=ref() | {"minReplicas": 3, "maxReplicas": 3}, gpuBudget=4)
    await run(it, rate=0.5)
    for _, name in [(p, n) for p, _, n in it.fake.store.objects if p == "pods" and n.startswith("engines")]:
        pod = it.fake.store.objects["pods", "default", name]
        pod["metadata"] |= {"deletionTimestamp": "2036-01-01T00:00:00Z", "finalizers": ["slow"]}
    patch = {"spec": {"decode": {"minReplicas": 1, "maxReplicas": 1}, "prefill": {"minReplicas": 3}}}
    it.fake.store.patch((PLURAL, "default", "chat"), patch, subresource="", manager="user", is_json=False)
    await it.tick(after=15)
    await it.tick(after=15)
    assert replicas(it) == 1
    assert it.fake.get("deployments", "chat-prefill")["spec"]["replicas"] == 1
    assert it.condition("Draining")[1] == "PodsTerminating"


async def test_two_targets_need_no_router_of_ours(it: Bench) -> None:
    engines(it)
    it.create(prefill=ref(), decode=ref(name="others"), router={"replicas": 0})
    it.fake.store.create(
        "statefulsets",
        "default",
        {
            "metadata": {"name": "others"},
            "spec": {
                "replicas": 1,
                "selector": {"matchLabels": {"app": "others"}},
                "template": {"metadata": {"labels": {"app": "others"}}, "spec": {}},
            },
        },
    )
    await run(it)
    assert it.condition("Ready")[:2] == ("True", "PoolsReady")


async def test_a_scale_of_zero_replicas_is_read_as_zero(it: Bench) -> None:
    engines(it, replicas=0)
    it.create(prefill=ref() | {"minReplicas": 0}, scaling={"mode": "Recommend"})
    await run(it)
    assert it.status()["prefill"]["desired"] == 0


@pytest.mark.parametrize(
    ("named", "reason", "words"),
    [
        pytest.param(
            ref(name="gone"),
            "TargetNotFound",
            "spec.decode.scaleTargetRef must name an object in default, got StatefulSet gone: there is none",
            id="no such object",
        ),
        pytest.param(
            ref("StatefullSet"),
            "TargetKindUnknown",
            "got apps/v1 StatefullSet; install its CRD",
            id="no such kind",
        ),
        pytest.param(
            ref("LeaderWorkerSet", "leaderworkerset.x-k8s.io/v1"),
            "TargetKindUnknown",
            "got leaderworkerset.x-k8s.io/v1 LeaderWorkerSet; install its CRD",
            id="no such group",
        ),
        pytest.param(
            ref("ConfigMap", "v1"), "TargetHasNoScale", "got v1 ConfigMap, which has none", id="no scale"
        ),
    ],
)
async def test_a_target_that_cannot_be_scaled_is_a_condition_with_the_next_step(
    it: Bench, named: Json, reason: str, words: str
) -> None:
    it.create(decode=named)
    await it.tick()
    for kind in ("Ready", BLOCKED):
        status, told, message = it.condition(kind)
        assert (status, told) == ("False", reason)
        assert words in message


async def test_a_target_that_comes_later_is_found_and_one_that_goes_is_missed(it: Bench) -> None:
    it.create(decode=ref())
    await it.tick()
    assert it.condition(BLOCKED)[1] == "TargetNotFound"
    engines(it)
    await run(it)
    assert it.condition("Ready")[:2] == ("True", "PoolsReady")
    it.fake.store.delete(("statefulsets", "default", "engines"))
    await it.tick(after=15)
    assert it.condition(BLOCKED)[1] == "TargetNotFound"


async def test_pods_that_nobody_can_count_are_never_scaled(it: Bench) -> None:
    engines(it, "gangs", selector={})
    it.create(decode=ref("Gang", "gangs.example.com/v1"))
    await run(it, rate=30.0)
    status, reason, message = it.condition(BLOCKED)
    assert (status, reason) == ("False", "TargetWithoutSelector")
    assert "the scale of Gang engines has no status.selector (yet)" in message
    assert replicas(it, "gangs") == 1


async def test_missing_rights_say_which_value_of_the_chart_gives_them(it: Bench) -> None:
    engines(it)
    it.create(decode=ref())
    it.fake.faults.append(Fault(lambda call: call.path.endswith("/engines/scale"), status=403))
    await it.tick()
    await it.tick(after=15)
    status, reason, message = it.condition(BLOCKED)
    assert (status, reason) == ("False", "ApiRefusedForbidden")
    assert message.endswith("the chart's rbac.scaleTargets gives the right")


async def test_a_pod_that_holds_more_gpus_than_the_spec_says_stops_all_writes(it: Bench) -> None:
    engines(it, gpus=2)
    it.fake.run_pods()
    it.create(decode=ref())
    await run(it, rate=30.0)
    status, reason, message = it.condition(BLOCKED)
    assert (status, reason) == ("False", "TargetHoldsMoreGPUs")
    assert "spec.decode.gpusPerReplica must be at least 2" in message
    assert message.endswith("got 1")
    assert replicas(it) == 1


async def test_a_pool_that_we_made_before_is_not_forgotten_beside_a_target(it: Bench) -> None:
    it.create()
    await run(it)
    engines(it)
    patch = {"spec": {"decode": ref()}}
    it.fake.store.patch((PLURAL, "default", "chat"), patch, subresource="", manager="user", is_json=False)
    await it.tick(after=15)
    status, reason, message = it.condition(BLOCKED)
    assert (status, reason) == ("False", "OwnPoolRemains")
    assert "kubectl delete deployment chat-decode" in message
    it.fake.store.delete(("deployments", "default", "chat-decode"))
    await run(it)
    assert it.condition(BLOCKED)[0] == "True"
    assert not it.fake.has("deployments", "chat-decode")


async def test_a_number_that_somebody_claims_is_left_until_a_person_says_take(it: Bench) -> None:
    engines(it, replicas=1)
    it.create(decode=ref())
    await run(it, rate=30.0)
    assert replicas(it) == 1
    status, reason, message = it.condition(BLOCKED)
    assert (status, reason) == ("False", "ReplicasOwnedElsewhere")
    assert message.startswith("decode: helm set the replicas")
    said = {"metadata": {"annotations": {"pdscale.io/take-replicas": "now"}}}
    it.fake.store.patch((PLURAL, "default", "chat"), said, subresource="", manager="user", is_json=False)
    await run(it)
    assert replicas(it) > 1
    assert it.condition(BLOCKED)[:2] == ("True", "PlansApplied")
    assert it.status()["tookReplicas"] == "now"
    await run(it, rate=0.5)
    assert replicas(it) == 1, "the claim stays ours"


async def test_where_a_kind_lives_is_asked_once(it: Bench) -> None:
    engines(it)
    it.create(decode=ref())
    await run(it, ticks=3)
    assert len([c for c in it.fake.calls if c.path == "/apis/apps/v1"]) == 1

"""Pools follow the load that the metrics show, within bounds and budget, and stay when nothing is known."""

import random
from collections.abc import Callable

import pytest
from kubernetes import client

from pdscale_e2e.cluster import Cluster
from pdscale_e2e.install import NAMESPACE, wait_for_operator
from pdscale_e2e.monitoring import PrometheusPod
from pdscale_e2e.objects import Objects, gpus_watched, on_nodes, serving
from pdscale_e2e.product import prometheus_apart
from pdscale_e2e.prometheus import Prometheus
from pdscale_e2e.waiting import eventually

pytestmark = [pytest.mark.cluster, pytest.mark.running_pods]
Dial = Callable[[str, float], None]
STATUS = on_nodes("status")


@pytest.fixture
def chat(objects: Objects, dial: Dial) -> Objects:
    objects.create(serving("chat", prefill=STATUS, decode=STATUS))
    dial("chat", 0.5)
    objects.wait("chat", kind="Ready", status="True", within=60)
    objects.wait("chat", kind="MetricsAvailable", status="True")
    return objects


def test_both_pools_grow_with_the_load_and_shrink_after_it(chat: Objects, dial: Dial) -> None:
    dial("chat", 11.0)  # 11 / 3.86 = 2.8 prefill, 11 / 2.80 = 3.9 decode
    eventually(
        lambda: chat.replicas("chat")[0] >= 3 and chat.replicas("chat")[1] >= 4,
        within=40,
        what="at least 3 prefill and 4 decode replicas for 11 rounds/s",
    )
    chat.wait("chat", kind="Ready", status="True")
    trail = [step["reason"] for step in chat.get("chat")["status"]["plan"]["trail"]]
    assert {"ForecastDemand", "ReactiveDemand"} & set(trail)
    dial("chat", 0.5)
    chat.wait_replicas("chat", 1, 1, within=60)


def test_the_budget_holds_at_every_instant_while_the_load_jumps(objects: Objects, dial: Dial) -> None:
    budget = 6
    objects.create(serving("tight", prefill=STATUS, decode=STATUS, gpuBudget=budget))
    dial("tight", 1.0)
    objects.wait("tight", kind="Ready", status="True", within=60)
    chance = random.Random(7)
    with gpus_watched(objects, "tight") as seen:
        for _ in range(6):
            dial("tight", chance.choice([0.2, 4.0, 20.0]))
            before = len(seen)
            eventually(lambda: len(seen) > before + 40, within=30, what="forty more looks at the pods")  # noqa: B023
        dial("tight", 20.0)
        eventually(lambda: seen[-1] == budget, within=40, what="pods hold the whole budget")
    assert max(seen) <= budget
    objects.wait("tight", kind="SLOAttainable", status="False")
    assert "gpuBudget 6" in objects.condition("tight", "SLOAttainable")["message"]


def test_replicas_are_held_and_the_condition_says_so_while_prometheus_is_down(
    objects: Objects, dial: Dial, cluster: Cluster
) -> None:
    with prometheus_apart(cluster, f"{objects.namespace}-prometheus") as prometheus:
        _held_without(prometheus, Objects(objects.api, objects.namespace, prometheus.url), dial)


def _held_without(prometheus: Prometheus | PrometheusPod, chat: Objects, dial: Dial) -> None:
    chat.create(serving("chat", prefill=STATUS, decode=STATUS))
    dial("chat", 11.0)
    eventually(lambda: sum(chat.replicas("chat")) >= 7, within=40, what="the pools have grown")
    prometheus.stop()
    try:
        message = chat.wait("chat", kind="MetricsAvailable", status="False", within=30)
        assert prometheus.url in message
        held = chat.replicas("chat")
        for bound in range(11, 19):  # eight decisions at least, each on a spec of its own
            chat.patch("chat", decode={"maxReplicas": bound})
            eventually(
                lambda: _judged(chat) == chat.get("chat")["metadata"]["generation"],
                within=20,
                what=f"a decision with decode.maxReplicas {bound}",
                every=0.2,
            )
            assert chat.replicas("chat") == held
    finally:
        prometheus.start()
    chat.wait("chat", kind="MetricsAvailable", status="True", within=40)


def test_spare_replicas_hours_and_reserved_gpus_are_kept_and_named(chat: Objects) -> None:
    spare = {"maxReplicas": 8, "spareReplicas": 1}
    chat.patch("chat", decode=spare)
    chat.wait_replicas("chat", 1, 2, within=40)
    always = {"start": "00:00", "end": "00:00", "timeZone": "Europe/Berlin", "prefillMinReplicas": 2}
    chat.patch("chat", scaling={"schedules": [always]})
    chat.wait_replicas("chat", 2, 2, within=40)
    chat.patch("chat", reservedGpus=6)
    eventually(lambda: sum(chat.replicas("chat")) == 6, within=40, what="all six reserved GPUs are used")
    reasons = [step["reason"] for step in chat.get("chat")["status"]["plan"]["trail"]]
    assert {"Scheduled", "Spare"} <= set(reasons)
    chat.patch("chat", scaling={"schedules": [always | {"timeZone": "Europe/Berln"}]})
    message = chat.wait("chat", kind="Ready", status="False", reason="InvalidSpec", within=30)
    assert "such as Europe/Berlin" in message


def test_a_paused_object_is_left_alone_and_a_recommendation_is_only_shown(chat: Objects, dial: Dial) -> None:
    chat.patch("chat", scaling={"mode": "Recommend"})
    dial("chat", 11.0)
    eventually(
        lambda: chat.get("chat")["status"]["plan"]["decode"] >= 4,
        within=40,
        what="the plan recommends 4 decode replicas",
    )
    assert chat.replicas("chat") == (1, 1)
    chat.patch("chat", scaling={"mode": "Paused"})
    chat.wait("chat", kind="ScalingActive", status="False", reason="Paused")
    assert chat.replicas("chat") == (1, 1)


@pytest.mark.disturbs("product")
def test_an_operator_killed_in_mid_resize_converges_after_its_restart(chat: Objects, dial: Dial) -> None:
    core = client.CoreV1Api(chat.api)
    dial("chat", 11.0)
    eventually(lambda: sum(chat.replicas("chat")) > 2, within=40, what="the resize has begun")
    for pod in core.list_namespaced_pod(NAMESPACE).items:
        core.delete_namespaced_pod(pod.metadata.name, NAMESPACE, grace_period_seconds=0)
    wait_for_operator(chat.api)
    eventually(
        lambda: chat.replicas("chat")[0] >= 3 and chat.replicas("chat")[1] >= 4,
        within=60,
        what="at least 3 prefill and 4 decode replicas after the restart",
    )
    dial("chat", 0.5)
    chat.wait_replicas("chat", 1, 1, within=60)


@pytest.mark.disturbs("product")
def test_an_api_server_that_was_away_is_caught_up_with(chat: Objects, dial: Dial, cluster: Cluster) -> None:
    cluster.stop_apiserver()
    dial("chat", 11.0)
    cluster.start_apiserver()
    eventually(
        lambda: chat.replicas("chat")[0] >= 3 and chat.replicas("chat")[1] >= 4,
        within=90,
        what="at least 3 prefill and 4 decode replicas once the API server is back",
    )


def _judged(objects: Objects) -> int:
    """The generation of the spec that the condition was found for."""
    found = objects.condition("chat", "MetricsAvailable")
    assert found["status"] == "False"
    return int(found["observedGeneration"])

"""Nodes, pods, the metrics server and the object itself fail or change: sizes stay as they should.

All rows are in docs/testing.md.
"""

import copy
from collections.abc import Callable
from typing import Any

import pytest
from kubernetes import client

from fakes.prometheus import Body, CutOff, Status
from pdscale_e2e.cluster import Nodes
from pdscale_e2e.lanes import LABEL
from pdscale_e2e.objects import Objects, serving
from pdscale_e2e.trial import BUDGET, STATUS, Trial, replicas_watched
from pdscale_e2e.waiting import eventually

pytestmark = [pytest.mark.cluster, pytest.mark.process_nodes, pytest.mark.disturbs("product")]
FAILURES = (Status(503), Body(b'{"status": "success", "data": '), CutOff(), None)  # None: no series


def test_a_pool_does_not_shrink_for_what_the_metrics_server_fails_to_tell(it: Trial) -> None:
    """It refuses, babbles, hangs up, and knows no series, one after the other."""
    it.deployed("chat", decode=1, scaling={"interval": "1s", "scaleDownWindow": "1s"})
    it.objects.patch("chat", decode={"minReplicas": 1, "maxReplicas": 4})
    it.load(7.0)
    with it.within_budget("chat"):
        eventually(lambda: it.objects.replicas("chat")[1] >= 3, within=30, what="the pool has grown")
        it.objects.wait("chat", kind="Ready", status="True")
        held = it.objects.replicas("chat")
        with replicas_watched(it.objects, "chat") as seen:
            for fault in FAILURES:
                it.metrics.fault = fault
                if fault is None:
                    it.metrics.measures = {}
                it.objects.wait("chat", kind="MetricsAvailable", status="False")
                looks = it.ticks()
                eventually(lambda: it.ticks() >= looks + 3, within=30, what="three more looks")  # noqa: B023
                it.metrics.fault = None
                it.load(7.0)
                it.objects.wait("chat", kind="MetricsAvailable", status="True")
        assert set(seen) == {held}
        it.load(0.5)
        it.settled("chat", 1)


def test_pods_of_nodes_that_are_lost_are_made_again_within_the_budget(
    it: Trial, namespace: str, gpu_nodes: Callable[..., Nodes]
) -> None:
    selector = {"podTemplate": {"spec": {"nodeSelector": {"e2e": namespace}}}}
    lost, _ = gpu_nodes(1, gpus=4), gpu_nodes(1, gpus=4)
    core: Any = client.CoreV1Api(it.objects.api)
    it.objects.create(
        serving(
            "chat",
            prefill={**selector, "maxReplicas": 1},
            decode={**selector, "minReplicas": 3, "maxReplicas": 3},
            gpuBudget=BUDGET,
            prometheus={"url": it.metrics.url},
        )
    )
    it.settled("chat", 3, within=60)
    with it.within_budget("chat"), replicas_watched(it.objects, "chat") as seen:
        core.patch_node(lost.names[0], {"spec": {"unschedulable": True}})  # or it takes pods while it goes
        lost.stop()
        eventually(
            lambda: {p.spec.node_name for p in it.objects.pods("chat", "decode")}.isdisjoint(lost.names),
            within=30,
            what="no pod is on the lost node",
        )
        it.settled("chat", 3, within=60)
    assert set(seen) == {(1, 3)}, "what was lost is no reason for another size"


def test_pods_that_find_no_node_are_told_of_and_counted(it: Trial) -> None:
    it.deployed("chat", decode=1)
    nowhere = {"podTemplate": {"spec": {"nodeSelector": {"pdscale.io/nodes": "nowhere"}}}}
    with it.within_budget("chat"), replicas_watched(it.objects, "chat") as seen:
        it.objects.patch("chat", decode={"minReplicas": 3, "maxReplicas": 3, **nowhere})
        eventually(
            lambda: it.objects.get("chat")["status"]["decode"].get("unschedulable", 0) > 0,
            within=30,
            what="a replica without a node",
        )
        looks = it.ticks()
        eventually(lambda: it.ticks() >= looks + 3, within=30, what="three more looks")
        it.objects.patch("chat", decode={**STATUS, "minReplicas": 3, "maxReplicas": 3})
        it.settled("chat", 3)
    sizes = [decode for _, decode in seen]
    assert sizes == sorted(sizes), "a pod without a node is no reason for a smaller pool"
    assert (sizes[0], sizes[-1]) == (1, 3)


def test_a_pool_whose_engines_crash_keeps_its_size_and_is_mended_by_an_edit(it: Trial) -> None:
    it.deployed("chat", decode=1)
    it.load(7.0)
    broken = [{"name": "engine", "command": ["python", "-c", "raise SystemExit(3)"], "args": []}]
    process = {"pdscale.io/nodes": "process", LABEL: None}  # a patch: what it does not name stays
    template = {"spec": {"nodeSelector": process, "tolerations": [], "containers": broken}}
    with it.within_budget("chat"), replicas_watched(it.objects, "chat") as seen:
        it.objects.patch("chat", decode={"podTemplate": template})
        eventually(
            lambda: restarts(it.objects, "chat") >= 1,
            within=60,
            what="an engine has crashed and was started again",
        )
        message = it.objects.wait("chat", kind="Ready", status="False")
        assert "decode" in message
        it.objects.patch("chat", decode={"podTemplate": None})
        it.objects.patch("chat", decode=STATUS)
        it.settled("chat", 1, within=60)
    assert {decode for _, decode in seen} == {1}


def test_an_object_that_is_edited_deleted_and_made_again_during_a_drain_keeps_the_budget(it: Trial) -> None:
    it.deployed("chat", decode=3, router={"drainTimeout": "10s"})
    it.open_requests = 1.0
    it.tell()
    with it.within_budget("chat"):
        it.bound("chat", 1)
        eventually(lambda: len(it.marked("chat")) == 2, within=30, what="two replicas drain")
        drains = it.marked("chat")
        it.objects.patch("chat", gpuBudget=BUDGET - 1)
        looks = it.ticks()
        eventually(lambda: it.ticks() >= looks + 3, within=30, what="three more looks")
        assert it.marked("chat") == drains
        assert it.objects.replicas("chat") == (1, 3), "nothing is deleted while requests are open"
        again = copy.deepcopy(it.objects.get("chat"))
        it.objects.delete("chat")
        eventually(lambda: not it.objects.exists("chat"), within=30, what="the object is gone")
        it.open_requests = 0.0
        again["metadata"] = {"name": "chat"}
        it.objects.create(again)
        it.settled("chat", 1, within=90)


def restarts(objects: Objects, name: str) -> int:
    statuses = [s for p in objects.pods(name, "decode") for s in p.status.container_statuses or ()]
    return max((s.restart_count for s in statuses if s.name == "engine"), default=0)

"""The API server is slow, or is away; nobody is there when a namespace is deleted.

All rows, and what of each is tested without a cluster, are in docs/testing.md.
"""

import time
from typing import Any

import pytest
from kubernetes import client

from pdscale_e2e.cluster import Cluster
from pdscale_e2e.fault_proxy import Fault, Wait
from pdscale_e2e.trial import Trial
from pdscale_e2e.waiting import eventually

pytestmark = [pytest.mark.cluster, pytest.mark.process_nodes, pytest.mark.disturbs("product")]


def test_a_slow_api_server_delays_and_nothing_else(it: Trial) -> None:
    it.deployed("chat", decode=1)
    it.proxy.faults[:] = [Fault(lambda call: not call.watches, Wait(0.4))]
    with it.within_budget("chat"):
        it.bound("chat", 3)
        it.settled("chat", 3)


def test_an_api_server_that_is_away_for_half_a_minute_changes_nothing(it: Trial, cluster: Cluster) -> None:
    it.deployed("chat", decode=3)
    before = {p.metadata.uid for p in it.objects.pods("chat")}
    cluster.stop_apiserver()
    away = time.monotonic()
    try:
        eventually(lambda: time.monotonic() - away >= 30, within=40, what="half a minute has passed")
        assert it.operator.running
    finally:
        cluster.start_apiserver()
    with it.within_budget("chat"):
        looks = it.ticks()
        eventually(lambda: it.ticks() > looks, within=30, what="the operator has looked again")
        it.settled("chat", 3)
        assert {p.metadata.uid for p in it.objects.pods("chat")} == before
        it.bound("chat", 1)
        it.objects.wait_replicas("chat", 1, 1)


def test_a_namespace_deleted_while_no_operator_runs_goes_when_one_is_back(it: Trial) -> None:
    it.deployed("chat", decode=1)
    it.killed()
    core: Any = client.CoreV1Api(it.objects.api)
    where = it.objects.namespace
    core.delete_namespace(where)
    it.start()
    eventually(
        lambda: where not in {n.metadata.name for n in core.list_namespace().items},
        within=90,
        what="the namespace is gone",
    )
    core.create_namespace({"metadata": {"name": where}})  # which the fixture takes away

"""Replicas drain before they go: no stream is lost, and load that comes back keeps them.

``PDSCALE_E2E_DRAINS`` is how many replicas the first test drains, or one more: they go in twos. The few of
every run take a minute.
"""

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import httpx
import pytest

from pdscale_e2e.monitoring import PrometheusPod
from pdscale_e2e.objects import Objects, on_nodes, serving
from pdscale_e2e.prometheus import Prometheus
from pdscale_e2e.replay.streaming import streaming
from pdscale_e2e.waiting import eventually, looking

pytestmark = [pytest.mark.cluster, pytest.mark.running_pods, pytest.mark.workers]
PROCESS = on_nodes("process")
MARK: Final = "pdscale.io/draining"
MODEL: Final = "meta-llama/Llama-2-70b-chat-hf"
AT_ONCE: Final = 2  # replicas that go with one edit of the spec
EDITS: Final = math.ceil(int(os.environ.get("PDSCALE_E2E_DRAINS", "4")) / AT_ONCE)


def test_no_stream_fails_while_replicas_drain_and_go_one_after_another(objects: Objects) -> None:
    url = deployed(objects, "drains", decode=1 + AT_ONCE)
    with streaming(url, model=MODEL, every=0.5, tokens=80) as replay, departures(objects, "drains") as gone:
        objects.wait("drains", kind="MetricsAvailable", status="True", within=60)
        for _ in range(EDITS):
            bound(objects, "drains", 1 + AT_ONCE)
            eventually(lambda: ready(objects, "drains") == 1 + AT_ONCE, within=60, what="all decode replicas")
            before = len(replay.outcomes)
            eventually(lambda: len(replay.outcomes) > before + 4, within=60, what="streams on all of them")  # noqa: B023
            bound(objects, "drains", 1)
            objects.wait("drains", kind="Draining", status="True")
            eventually(lambda: len(objects.pods("drains", "decode")) == 1, within=60, what="one is left")
    objects.wait("drains", kind="Draining", status="False", within=60)
    assert [o.error for o in replay.failed] == []
    assert len(replay.outcomes) == replay.sent
    assert len(gone) == EDITS * AT_ONCE
    assert all(gone.values()), "every replica that went had been marked before"
    print(f"{len(gone)} replicas drained, {len(replay.outcomes)} streams, 0 failed")


def test_a_drain_is_undone_when_the_replicas_are_wanted_again(
    objects: Objects, prometheus: Prometheus | PrometheusPod
) -> None:
    url = deployed(objects, "undone", decode=2)
    there = {pod.metadata.uid for pod in objects.pods("undone", "decode")}
    with streaming(url, model=MODEL, every=0.5, tokens=400) as replay:
        eventually(
            lambda: busy(prometheus, objects, "undone") == 2, within=60, what="streams known of both replicas"
        )
        bound(objects, "undone", 1)
        objects.wait("undone", kind="Draining", status="True", reason="ReplicasDrain")
        assert len(marked(objects, "undone")) == 1
        assert objects.replicas("undone") == (1, 2), "nothing is deleted while a stream is open"
        bound(objects, "undone", 2)
        eventually(lambda: not marked(objects, "undone"), within=30, what="the mark is taken off")
    objects.wait("undone", kind="Draining", status="False")
    assert [o.error for o in replay.failed] == []
    assert {pod.metadata.uid for pod in objects.pods("undone", "decode")} == there


def busy(prometheus: Prometheus | PrometheusPod, objects: Objects, name: str) -> int:
    """Decode replicas with open requests, as the metrics server tells the operator."""
    where = f'namespace="{objects.namespace}", pod=~"{name}-decode-.*"'
    query = {"query": f"count(sum by (pod) (pdscale_router_inflight_requests{{{where}}}) > 0)"}
    answer = httpx.get(f"{prometheus.reachable}/api/v1/query", params=query, timeout=5).json()
    return sum(int(sample["value"][1]) for sample in answer["data"]["result"])


def deployed(objects: Objects, name: str, *, decode: int) -> str:
    """Real processes, as many as the spec says whatever the load; the address of the Service."""
    one, several = {"minReplicas": 1, "maxReplicas": 1}, {"minReplicas": decode, "maxReplicas": decode}
    manifest = serving(
        name, prefill={**PROCESS, **one}, decode={**PROCESS, **several}, router={"drainTimeout": "60s"}
    )
    objects.create(manifest)
    objects.wait(name, kind="Ready", status="True", within=90)
    return objects.answers(name, within=30)


def bound(objects: Objects, name: str, decode: int) -> None:
    objects.patch(name, decode={"minReplicas": decode, "maxReplicas": decode})


def ready(objects: Objects, name: str) -> int:
    return int(objects.get(name)["status"]["decode"]["ready"])


def marked(objects: Objects, name: str) -> list[str]:
    pods = objects.pods(name, "decode")
    return [p.metadata.name for p in pods if MARK in (p.metadata.annotations or {})]


@contextmanager
def departures(objects: Objects, name: str) -> Iterator[dict[str, bool]]:
    """Decode pods that are gone when the block ends, and whether they were marked when last seen."""
    seen: dict[str, bool] = {}

    def look() -> None:
        for pod in objects.pods(name, "decode"):
            seen[pod.metadata.name] = MARK in (pod.metadata.annotations or {})

    with looking(look, every=0.1):
        yield seen
    for pod in objects.pods(name, "decode"):
        seen.pop(pod.metadata.name, None)

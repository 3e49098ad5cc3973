"""A pod is made lean when it has been read, and is judged as before."""

from typing import Any

import pytest

from pdscale.kube.gates import is_gated
from pdscale.kube.lean import lean
from pdscale.kube.pools import state_of
from pdscale.kube.targets import gpus_of


def pod(phase: str, *conditions: dict[str, str], **spec: Any) -> dict[str, Any]:
    engine = {"name": "engine", "env": [{"name": "A", "value": "b" * 99}]}
    engine["resources"] = {"limits": {"nvidia.com/gpu": "2"}}
    return {
        "metadata": {
            "name": "chat-decode-0",
            "uid": "u",
            "labels": {"pdscale.io/role": "decode"},
            "annotations": {"pdscale.io/draining": "2026-01-01T00:00:00Z"},
            "managedFields": [{"manager": "kubelet"}],
        },
        "spec": {"containers": [engine], "volumes": [{"name": "cache"}], **spec},
        "status": {
            "phase": phase,
            "conditions": list(conditions),
            "podIP": "10.0.0.1",
            "containerStatuses": [{}],
        },
    }


@pytest.mark.parametrize(
    "whole",
    [
        pod("Running", {"type": "Ready", "status": "True"}),
        pod("Pending", {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}),
        pod(
            "Pending",
            {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"},
            schedulingGates=[{"name": "pdscale.io/budget"}],
        ),
        pod("Failed"),
    ],
)
def test_what_is_left_of_a_pod_counts_as_the_whole_one(whole: dict[str, Any]) -> None:
    left = lean(whole)
    assert state_of(3, [left]) == state_of(3, [whole])
    assert gpus_of(left) == gpus_of(whole) == 2
    assert is_gated(left) == is_gated(whole)
    assert left["status"].get("podIP") == "10.0.0.1"
    assert {**left["metadata"], "managedFields": whole["metadata"]["managedFields"]} == whole["metadata"]


def test_what_nobody_reads_is_gone() -> None:
    text = str(lean(pod("Running")))
    assert not any(word in text for word in ("managedFields", "volumes", "env", "containerStatuses"))


def test_a_pod_without_spec_and_status_is_one_too() -> None:
    left = lean({"metadata": {"name": "bare"}})
    assert state_of(1, [left]) == state_of(1, [{"metadata": {"name": "bare"}}])

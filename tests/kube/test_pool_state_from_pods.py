"""Deployments and pods, as the API shows them, become pool states."""

from datetime import UTC, datetime
from typing import Any

import pytest

from pdscale.kube.pools import of_role, overdue, pool_state, replicas
from pdscale.model.pools import PoolState, Role


def pod(*, role: str = "prefill", deleted: bool = False, node: str = "n", **status: Any) -> dict[str, Any]:
    deletion = {"deletionTimestamp": "2026-01-01T00:00:00Z"} if deleted else {}
    meta = {"name": "p", "labels": {"pdscale.io/role": role}, **deletion}
    return {"metadata": meta, "spec": {"nodeName": node}, "status": status}


READY = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
NO_ROOM = {
    "phase": "Pending",
    "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}],
}


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        pytest.param(pod(**READY), PoolState(0, ready=1), id="ready"),
        pytest.param(pod(phase="Pending"), PoolState(0, starting=1), id="bound, not ready"),
        pytest.param(pod(node="", phase="Pending"), PoolState(0, starting=1), id="not looked at yet"),
        pytest.param(pod(node="", **NO_ROOM), PoolState(0, unschedulable=1), id="no room"),
        pytest.param(pod(deleted=True, **READY), PoolState(0, terminating=1), id="going, though ready"),
        pytest.param(pod(phase="Succeeded"), PoolState(0), id="ended"),
        pytest.param(pod(phase="Failed", deleted=True), PoolState(0), id="evicted"),
        pytest.param(pod(), PoolState(0, starting=1), id="without a status yet"),
    ],
)
def test_each_pod_counts_in_one_place(item: dict[str, Any], expected: PoolState) -> None:
    assert pool_state(None, [item]) == expected


def test_desired_comes_from_the_deployment_and_pods_from_the_pods() -> None:
    deployment = {"spec": {"replicas": 3}, "status": {"readyReplicas": 9}}
    assert pool_state(deployment, [pod(**READY)]) == PoolState(3, ready=1)


@pytest.mark.parametrize(
    ("deployment", "expected"),
    [
        pytest.param(None, 0, id="no Deployment wants nothing"),
        pytest.param({"spec": {}}, 1, id="absent means one"),
        pytest.param({"spec": {"replicas": 0}}, 0, id="zero is zero"),
    ],
)
def test_replicas_of_a_deployment(deployment: dict[str, Any] | None, expected: int) -> None:
    assert replicas(deployment) == expected


def test_a_pod_that_changed_its_role_counts_where_its_label_says() -> None:
    pods = [pod(role="decode"), pod(role="prefill"), pod(role="decode")]
    assert len(of_role(pods, Role.DECODE)) == 2
    assert len(of_role(pods, Role.PREFILL)) == 1


def test_a_deleted_pod_is_overdue_when_its_grace_period_is_over_and_it_holds_gpus() -> None:
    ends = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
    going = [pod(deleted=True, **READY), pod(deleted=True, phase="Pending"), pod(**READY)]
    ended = pod(deleted=True, phase="Failed")
    assert overdue([*going, ended], ends) == 0
    assert overdue([*going, ended], ends + 1) == 2

"""Two ServingDeployments share a ResourceQuota's GPUs by priority, and never hold more than it has."""

from collections.abc import Callable
from typing import Any, Final

import pytest

from pdscale_e2e.install import apply
from pdscale_e2e.objects import Objects, gpus_held, on_nodes, serving
from pdscale_e2e.waiting import eventually, looking

pytestmark = [pytest.mark.cluster, pytest.mark.process_nodes]
Dial = Callable[[str, float], None]
STATUS: Final = on_nodes("status")
CAP: Final = 6
QUOTA: Final[dict[str, Any]] = {
    "apiVersion": "v1",
    "kind": "ResourceQuota",
    "metadata": {"name": "gpus"},
    "spec": {"hard": {"requests.nvidia.com/gpu": str(CAP)}},
}


def test_the_lower_priority_gives_back_before_the_higher_one_grows(objects: Objects, dial: Dial) -> None:
    apply(objects.api, [QUOTA], namespace=objects.namespace)
    for name, priority in (("low", 0), ("high", 5)):
        shared = {"sharedBudget": {"resourceQuota": "gpus", "priority": priority}}
        objects.create(serving(name, prefill=STATUS, decode=STATUS, scaling=shared))
        dial(name, 0.5)
    for name in ("low", "high"):
        objects.wait(name, kind="Ready", status="True", within=90)
    held: list[int] = []
    with looking(lambda: held.append(gpus_held([*objects.pods("low"), *objects.pods("high")]))):
        dial("low", 20.0)
        eventually(
            lambda: sum(objects.replicas("low")) == CAP - 2, within=60, what="low has all that is free"
        )
        dial("high", 20.0)
        eventually(lambda: sum(objects.replicas("high")) == CAP - 2, within=90, what="high has all but two")
    assert objects.replicas("low") == (1, 1)
    assert max(held) == CAP
    message = objects.wait("low", kind="BudgetSatisfied", status="True", reason="SharedBudgetLimits")
    assert message.startswith(f"of ResourceQuota gpus 2 of {CAP} GPUs may be held here now")

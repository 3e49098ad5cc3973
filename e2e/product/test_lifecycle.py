"""Create, change, break, mend and delete a ServingDeployment on a real API server."""

import pytest
from kubernetes import client

from pdscale_e2e.objects import Objects, gpus_held, on_nodes, serving
from pdscale_e2e.waiting import eventually

pytestmark = pytest.mark.cluster
STATUS = on_nodes("status")


def test_an_object_becomes_two_ready_pools_a_router_and_services(objects: Objects) -> None:
    made = objects.create(serving("chat", prefill=STATUS, decode=STATUS))
    objects.wait("chat", kind="Ready", status="True", within=60)
    status = objects.get("chat")["status"]
    assert status["observedGeneration"] == made["metadata"]["generation"]
    assert (status["prefill"]["ready"], status["decode"]["ready"]) == (1, 1)
    apps, core = client.AppsV1Api(objects.api), client.CoreV1Api(objects.api)
    names = {d.metadata.name for d in apps.list_namespaced_deployment(objects.namespace).items}
    assert names == {"chat-prefill", "chat-decode", "chat-router"}
    for deployment in apps.list_namespaced_deployment(objects.namespace).items:
        owner = deployment.metadata.owner_references[0]
        assert (owner.kind, owner.name, owner.controller) == ("ServingDeployment", "chat", True)
    services = {s.metadata.name for s in core.list_namespaced_service(objects.namespace).items}
    assert services == {"chat", "chat-prefill", "chat-decode"}


def test_the_scheduler_places_pools_by_gpu_and_the_rest_is_reported(objects: Objects) -> None:
    pool = {**STATUS, "minReplicas": 5, "gpusPerReplica": 4}
    objects.create(serving("wide", prefill=pool, decode={**STATUS, "gpusPerReplica": 4}, gpuBudget=64))
    # Two nodes of 8 GPUs take four replicas of 4: of the six that are asked for, two find no room.
    eventually(
        lambda: (
            sum(
                objects.get("wide")["status"].get(r, {}).get("unschedulable", 0)
                for r in ("prefill", "decode")
            )
            == 2
        ),
        within=30,
        what="two replicas are reported as unschedulable",
    )
    assert gpus_held(objects.pods("wide")) == 16
    assert objects.condition("wide", "Ready")["status"] == "False"


def test_a_changed_bound_is_followed_at_once(objects: Objects) -> None:
    objects.create(serving("chat", prefill=STATUS, decode=STATUS))
    objects.wait("chat", kind="Ready", status="True", within=60)
    objects.patch("chat", decode={"minReplicas": 3})
    objects.wait_replicas("chat", 1, 3)
    objects.patch("chat", gpuBudget=4)
    objects.wait("chat", kind="Ready", status="True")
    objects.patch("chat", decode={"minReplicas": 1, "maxReplicas": 2})
    objects.wait_replicas("chat", 1, 2)


def test_an_image_change_rolls_through_a_pool_that_holds_every_gpu(objects: Objects) -> None:
    full = {**STATUS, "minReplicas": 2, "gpusPerReplica": 4}
    objects.create(serving("full", prefill=full, decode=full, gpuBudget=16))
    objects.wait("full", kind="Ready", status="True", within=60)
    objects.patch("full", engine={"image": "engine:2"})

    def rolled() -> bool:
        pods = [p for role in ("prefill", "decode") for p in objects.pods("full", role)]
        engines = [c for p in pods for c in p.spec.containers if c.name == "engine"]
        return len(pods) == 4 and all(c.image == "engine:2" for c in engines)

    eventually(rolled, within=60, what="every engine of both pools runs the new image")
    objects.wait("full", kind="Ready", status="True")


def test_a_profile_that_does_not_exist_is_a_condition_that_names_it_and_can_be_mended(
    objects: Objects,
) -> None:
    objects.create(serving("typo", profile={"name": "llama-2-70b-a100"}, prefill=STATUS, decode=STATUS))
    message = objects.wait("typo", kind="Ready", status="False", reason="InvalidSpec")
    assert "profile.name" in message
    assert "llama-2-70b-a100" in message
    assert objects.pods("typo") == []
    objects.patch("typo", profile={"name": "llama-2-70b-a100-tp8-2023"})
    objects.wait("typo", kind="Ready", status="True", within=60)


def test_deleting_the_object_takes_everything_with_it(objects: Objects) -> None:
    objects.create(serving("gone", prefill=STATUS, decode=STATUS))
    objects.wait("gone", kind="Ready", status="True", within=60)
    objects.delete("gone")
    apps = client.AppsV1Api(objects.api)
    eventually(
        # The garbage collector learns of a new kind with up to half a minute's delay.
        lambda: not apps.list_namespaced_deployment(objects.namespace).items and not objects.pods("gone"),
        within=90,
        what="Deployments and pods of the deleted object are gone",
    )

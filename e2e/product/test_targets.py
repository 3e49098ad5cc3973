"""Roles whose replicas belong to objects that somebody else made: any kind that has a scale."""

import time
from collections.abc import Callable
from typing import Any, Final

import pytest
from kubernetes import client

from pdscale_e2e.install import apply
from pdscale_e2e.objects import GPU, Objects, gpus_held, on_nodes, serving
from pdscale_e2e.waiting import eventually, looking

pytestmark = [pytest.mark.cluster, pytest.mark.process_nodes]
Dial = Callable[[str, float], None]
Json = dict[str, Any]
STATUS: Final = on_nodes("status")
BUDGET: Final = 8


def target(kind: str, name: str, api_version: str = "apps/v1", **pool: Any) -> Json:
    return {"scaleTargetRef": {"apiVersion": api_version, "kind": kind, "name": name}, **pool}


def engines(name: str, *, of: str) -> Json:
    """A StatefulSet of one-GPU pods that the routers find; its manifest leaves the replicas to others."""
    labels = {"app": name, "pdscale.io/deployment": of, "pdscale.io/role": "decode"}
    pod = STATUS["podTemplate"]["spec"]
    container = {"name": "engine", "image": "none", "resources": {"limits": {GPU: "1"}}}
    tolerations = [*pod["tolerations"], {"key": GPU, "operator": "Exists"}]
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": name},
        "spec": {
            "serviceName": name,
            "podManagementPolicy": "Parallel",
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {**pod, "tolerations": tolerations, "containers": [container]},
            },
        },
    }


@pytest.mark.running_pods
def test_a_stateful_set_follows_the_load_beside_a_pool_of_ours_within_the_budget(
    objects: Objects, dial: Dial
) -> None:
    objects.create(
        serving("mixed", prefill=STATUS, decode=target("StatefulSet", "engines"), gpuBudget=BUDGET)
    )
    message = objects.wait("mixed", kind="ScalingActive", status="False", reason="TargetNotFound")
    assert "got StatefulSet engines: there is none" in message
    apply(objects.api, [engines("engines", of="mixed")], namespace=objects.namespace, manager="helm")
    dial("mixed", 0.5)
    objects.wait("mixed", kind="Ready", status="True", within=60)
    held: list[int] = []
    with looking(lambda: held.append(gpus_held(objects.pods("mixed")))):
        dial("mixed", 11.0)  # 11 / 2.80 = 3.9 decode
        eventually(lambda: replicas(objects) >= 4, within=60, what="at least 4 replicas of the StatefulSet")
        dial("mixed", 40.0)
        eventually(lambda: max(held) == BUDGET, within=60, what="the whole budget is held")
        dial("mixed", 0.5)
        eventually(lambda: replicas(objects) == 1, within=90, what="one replica of the StatefulSet")
    assert max(held) == BUDGET
    status = objects.get("mixed")["status"]
    assert status["decode"]["target"] == "StatefulSet engines"
    apps: Any = client.AppsV1Api(objects.api)
    ours = {d.metadata.name for d in apps.list_namespaced_deployment(objects.namespace).items}
    assert ours == {"mixed-prefill", "mixed-router"}


@pytest.fixture
def gangs(objects: Objects) -> Any:
    """Objects of a kind that no code of ours knows; nobody acts on them."""
    schema = {
        "type": "object",
        "properties": {
            "spec": {"type": "object", "properties": {"replicas": {"type": "integer"}}},
            "status": {
                "type": "object",
                "properties": {"replicas": {"type": "integer"}, "selector": {"type": "string"}},
            },
        },
    }
    scale = {
        "specReplicasPath": ".spec.replicas",
        "statusReplicasPath": ".status.replicas",
        "labelSelectorPath": ".status.selector",
    }
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "subresources": {"status": {}, "scale": scale},
    }
    crd = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "gangs.gangs.example.com"},
        "spec": {
            "group": "gangs.example.com",
            "scope": "Namespaced",
            "names": {"plural": "gangs", "kind": "Gang"},
            "versions": [version],
        },
    }
    apply(objects.api, [crd], namespace=objects.namespace)
    extensions: Any = client.ApiextensionsV1Api(objects.api)
    eventually(
        lambda: any(
            c.type == "Established" and c.status == "True"
            for c in extensions.read_custom_resource_definition("gangs.gangs.example.com").status.conditions
            or ()
        ),
        within=30,
        what="the CRD of gangs is served",
    )
    return client.CustomObjectsApi(objects.api)


def test_an_unknown_kind_is_scaled_once_it_can_be_counted_and_is_ours_to_scale(
    objects: Objects, gangs: Any
) -> None:
    kind = ("gangs.example.com", "v1", objects.namespace, "gangs")
    made = {"apiVersion": "gangs.example.com/v1", "kind": "Gang", "metadata": {"name": "crew"}}
    gangs.create_namespaced_custom_object(*kind, {**made, "spec": {"replicas": 1}}, field_manager="argocd")
    crew = target("Gang", "crew", "gangs.example.com/v1", minReplicas=2)
    objects.create(serving("odd", prefill=STATUS, decode=crew))
    message = objects.wait(
        "odd", kind="ScalingActive", status="False", reason="TargetWithoutSelector", within=60
    )
    assert "the scale of Gang crew has no status.selector" in message
    status = {"status": {"replicas": 1, "selector": "app=crew"}}
    gangs.patch_namespaced_custom_object_status(*kind, "crew", status)
    message = objects.wait(
        "odd", kind="ScalingActive", status="False", reason="ReplicasOwnedElsewhere", within=30
    )
    assert message.startswith("decode: argocd set the replicas")
    assert gangs.get_namespaced_custom_object(*kind, "crew")["spec"]["replicas"] == 1
    said = {"metadata": {"annotations": {"pdscale.io/take-replicas": str(time.time())}}}
    gangs.patch_namespaced_custom_object(
        "pdscale.io", "v1alpha1", objects.namespace, "servingdeployments", "odd", said
    )
    for count in (2, 3):
        objects.patch("odd", decode={"minReplicas": count})
        eventually(
            lambda: gangs.get_namespaced_custom_object(*kind, "crew")["spec"]["replicas"] == count,  # noqa: B023
            within=30,
            what=f"the gang has {count} replicas",
        )
    objects.wait("odd", kind="ScalingActive", status="True", reason="PlansApplied")


def test_a_pool_with_an_autoscaler_of_somebody_else_is_left_alone(objects: Objects) -> None:
    scaled = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "chat-decode"}
    autoscaler = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "cpu"},
        "spec": {"scaleTargetRef": scaled, "maxReplicas": 4},
    }
    apply(objects.api, [autoscaler], namespace=objects.namespace)
    objects.create(serving("chat", prefill=STATUS, decode=STATUS))
    message = objects.wait("chat", kind="ScalingActive", status="False", reason="TargetShared", within=60)
    assert message.startswith("decode: HorizontalPodAutoscaler cpu scales Deployment chat-decode, too;")
    objects.patch("chat", prefill={"minReplicas": 2})
    eventually(
        lambda: objects.get("chat")["status"]["plan"]["prefill"] == 2,
        within=30,
        what="a plan that is only shown",
    )
    assert objects.replicas("chat") == (1, 1)


def replicas(objects: Objects) -> int:
    apps: Any = client.AppsV1Api(objects.api)
    found: int = apps.read_namespaced_stateful_set("engines", objects.namespace).spec.replicas
    return found

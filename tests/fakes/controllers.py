"""Controllers of workloads, scheduler and kubelets of the fake API server: pods follow replicas at once."""

import hashlib
import json
from typing import Any, Protocol

from fakes.kube_fields import Object
from fakes.kube_store import Key, Store

COST = "controller.kubernetes.io/pod-deletion-cost"
HASH = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"


class Serves(Protocol):
    """The fake API server, as far as it matters here."""

    store: Store

    def get(self, plural: str, name: str, namespace: str = "default") -> Object: ...


def follow(fake: Serves) -> None:
    """ReplicaSets hear what their Deployments say, adopt pods with their labels and let go of others."""
    for (plural, namespace, name), item in list(fake.store.objects.items()):
        revision = (item["metadata"].get("annotations") or {}).get(REVISION)
        key = ("replicasets", namespace, f"{name}-{revision}")
        if plural != "deployments" or key not in fake.store.objects:
            continue
        _update(fake, key, {"spec": {"replicas": item["spec"]["replicas"]}})
        home = fake.store.objects[key]["metadata"]
        _update(fake, key, {"status": {"observedGeneration": home["generation"]}})
        owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": home["name"], "uid": home["uid"]}
        owners = {"metadata": {"ownerReferences": [{**owner, "controller": True}]}}
        for pod in _pods(fake, namespace, item):
            if "deletionTimestamp" not in fake.store.objects["pods", namespace, pod]["metadata"]:
                _update(fake, ("pods", namespace, pod), owners)


def run_pods(fake: Serves, *, ready: bool) -> None:
    """Bring pods about and take them away; those that a gate holds back are there, but run nowhere."""
    for (plural, namespace, name), item in list(fake.store.objects.items()):
        if plural not in ("deployments", "statefulsets"):
            continue
        if plural == "deployments":
            _replica_set(fake, namespace, item)
        there, replicas = _pods(fake, namespace, item), item["spec"]["replicas"]
        gone, kept = there[: max(0, len(there) - replicas)], there[max(0, len(there) - replicas) :]
        for pod in gone:
            fake.store.delete(("pods", namespace, pod))
        for pod in [*kept, *_new(fake, namespace, name, replicas - len(kept))]:
            _run(fake, namespace, pod, item["spec"]["template"], ready=ready)
        count = replicas if ready else 0
        counts = {"replicas": replicas, "updatedReplicas": replicas, "readyReplicas": count}
        seen = {"observedGeneration": item["metadata"]["generation"], "availableReplicas": count}
        _status(fake, (plural, namespace, name), {**counts, **seen})
    follow(fake)


def _pods(fake: Serves, namespace: str, owner: Object) -> list[str]:
    """Names of an owner's pods, in the order in which its controller would delete them."""
    selector, by_cost = owner["spec"]["selector"]["matchLabels"].items(), owner["kind"] == "Deployment"
    found = {n: p for (plural, ns, n), p in fake.store.objects.items() if (plural, ns) == ("pods", namespace)}
    mine = [n for n, p in found.items() if selector <= p["metadata"]["labels"].items()]

    def expendable(name: str) -> tuple[bool, int, int]:
        said = found[name]["metadata"].get("annotations") or {}
        scheduled = not found[name]["spec"].get("schedulingGates")
        return scheduled, int(said.get(COST, 0)) if by_cost else 0, -int(name.rpartition("-")[2])

    return sorted(mine, key=expendable)


def _new(fake: Serves, namespace: str, deployment: str, count: int) -> list[str]:
    names: list[str] = []
    number = 0
    while len(names) < count:
        if ("pods", namespace, f"{deployment}-{number}") not in fake.store.objects:
            names.append(f"{deployment}-{number}")
        number += 1
    return names


def _run(fake: Serves, namespace: str, name: str, template: Object, *, ready: bool) -> None:
    key = ("pods", namespace, name)
    if key not in fake.store.objects:
        gates = template["spec"].get("schedulingGates", [])
        spec: Object = {"schedulingGates": gates} if gates else {"nodeName": "n"}
        spec["containers"] = template["spec"].get("containers", [])
        pod = {"metadata": {"name": name, "labels": template["metadata"]["labels"]}, "spec": spec}
        fake.store.create("pods", namespace, pod, "kubelet")
    if fake.store.objects[key]["spec"].get("schedulingGates"):
        gated = {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}
        _status(fake, key, {"phase": "Pending", "conditions": [gated]})
    else:
        conditions = [{"type": "Ready", "status": str(ready)}]
        _status(fake, key, {"phase": "Running", "podIP": "10.0.0.1", "conditions": conditions})


def _replica_set(fake: Serves, namespace: str, deployment: Object) -> None:
    """The present one, with a revision that its Deployment names, too."""
    template = deployment["spec"]["template"]
    revision = hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()[:10]
    name = f"{deployment['metadata']['name']}-{revision}"
    if ("replicasets", namespace, name) in fake.store.objects:
        return
    labels = {**template["metadata"]["labels"], HASH: revision}
    metadata: dict[str, Any] = {"name": name, "labels": labels, "annotations": {REVISION: revision}}
    made = {"metadata": metadata, "spec": {"template": {"metadata": {"labels": labels}}}}
    fake.store.create("replicasets", namespace, made, "controller")
    key = ("deployments", namespace, deployment["metadata"]["name"])
    _update(fake, key, {"metadata": {"annotations": {REVISION: revision}}})


def _update(fake: Serves, key: Key, patch: Object) -> None:
    fake.store.patch(key, patch, subresource="", manager="controller", is_json=False)


def _status(fake: Serves, key: Key, status: Object) -> None:
    fake.store.patch(key, {"status": status}, subresource="status", manager="kubelet", is_json=False)

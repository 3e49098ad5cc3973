"""The same Prometheus as a pod of the cluster, for clusters that run containers.

It finds pods with its own ServiceAccount and is reached by its Service's name. An outage is a Deployment
scaled to zero; its series go with the pod, as they would with any Prometheus that has no volume.
"""

import json
from collections.abc import Iterator
from typing import Any, Final

from kubernetes import client

from pdscale_e2e.cluster import Cluster
from pdscale_e2e.install import Manifest, api_client, apply
from pdscale_e2e.prometheus import configuration
from pdscale_e2e.waiting import eventually

NAMESPACE: Final = "monitoring"
_NAME: Final = "prometheus"
_CONFIG: Final = "/etc/prometheus"


class PrometheusPod:
    """One Deployment, there already or to be applied; ``url`` is an address for pods."""

    def __init__(self, cluster: Cluster, namespace: str = NAMESPACE) -> None:
        self.url = address(namespace)
        self._namespace = namespace
        self._api = api_client(cluster.kubeconfig)
        self._apps: Any = client.AppsV1Api(self._api)

    @property
    def reachable(self) -> str:
        """An address for the tests' own processes."""
        core: Any = client.CoreV1Api(self._api)
        (pod,) = core.list_namespaced_pod(self._namespace, label_selector=f"app={_NAME}").items
        return f"http://{pod.status.pod_ip}:9090"

    def apply(self, image: str, *, scrape_interval: float = 1.0) -> "PrometheusPod":
        objects = manifests(image, scrape_interval=scrape_interval, namespace=self._namespace)
        apply(self._api, objects, namespace=self._namespace)
        return self

    def start(self) -> "PrometheusPod":
        self._scale(1)
        return self

    def stop(self) -> None:
        self._scale(0)

    def close(self) -> None:
        """Takes its namespace away, and what it may read of others."""
        rights: Any = client.RbacAuthorizationV1Api(self._api)
        rights.delete_cluster_role_binding(_everywhere(self._namespace))
        rights.delete_cluster_role(_everywhere(self._namespace))
        client.CoreV1Api(self._api).delete_namespace(self._namespace)
        self.leave()

    def leave(self) -> None:
        """It goes on for others."""
        self._api.close()  # type: ignore[no-untyped-call]

    def _scale(self, replicas: int) -> None:
        self._apps.patch_namespaced_deployment_scale(_NAME, self._namespace, {"spec": {"replicas": replicas}})
        pods: Any = client.CoreV1Api(self._api)

        def settled() -> bool:
            there = self._apps.read_namespaced_deployment(_NAME, self._namespace).status.ready_replicas or 0
            found = pods.list_namespaced_pod(self._namespace, label_selector=f"app={_NAME}").items
            return there == replicas == len(found)

        eventually(settled, within=90, what=f"Prometheus has {replicas} ready pods")


def address(namespace: str = NAMESPACE) -> str:
    """What pods reach it by."""
    return f"http://{_NAME}.{namespace}:9090"


def manifests(image: str, *, scrape_interval: float = 1.0, namespace: str = NAMESPACE) -> Iterator[Manifest]:
    """Every object of it, its namespace first."""
    yield {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
    labels = {"labels": {"app": _NAME}}
    everywhere = {"name": _everywhere(namespace), **labels}
    meta = {"name": _NAME, **labels, "namespace": namespace}
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}]
    role = "rbac.authorization.k8s.io"
    yield {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta}
    yield {"apiVersion": f"{role}/v1", "kind": "ClusterRole", "metadata": everywhere, "rules": rules}
    yield {
        "apiVersion": f"{role}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": everywhere,
        "roleRef": {"apiGroup": role, "kind": "ClusterRole", "name": everywhere["name"]},
        "subjects": [{"kind": "ServiceAccount", "name": _NAME, "namespace": namespace}],
    }
    config = json.dumps(configuration(scrape_interval=scrape_interval), indent=1)
    yield {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"prometheus.yml": config}}
    port = {"name": "http", "port": 9090, "targetPort": 9090}
    yield {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": meta,
        "spec": {"selector": {"app": _NAME}, "ports": [port]},
    }
    yield _deployment(image, meta)


def _everywhere(namespace: str) -> str:
    """The name of what belongs to no namespace, where there may be several servers."""
    return _NAME if namespace == NAMESPACE else f"{_NAME}-{namespace}"


def _deployment(image: str, meta: dict[str, Any]) -> Manifest:
    container = {
        "name": _NAME,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "ports": [{"name": "http", "containerPort": 9090}],
        "readinessProbe": {"httpGet": {"path": "/-/ready", "port": 9090}, "periodSeconds": 1},
        "volumeMounts": [
            {"name": "config", "mountPath": _CONFIG},
            {"name": "series", "mountPath": "/prometheus"},
        ],
    }
    pod = {
        "serviceAccountName": _NAME,
        "terminationGracePeriodSeconds": 5,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "fsGroup": 65532},
        "containers": [container],
        "volumes": [
            {"name": "config", "configMap": {"name": _NAME}},
            {"name": "series", "emptyDir": {}},
        ],
    }
    template = {"metadata": {"labels": {"app": _NAME}}, "spec": pod}
    selector = {"matchLabels": {"app": _NAME}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": meta,
        "spec": {"selector": selector, "strategy": {"type": "Recreate"}, "template": template},
    }

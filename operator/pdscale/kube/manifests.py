"""What belongs to a ServingDeployment, as manifests: a pure function of its spec.

The same spec gives the same bytes, so whoever applies can tell a change by comparing. Pools carry no
``replicas``: the autoscaler writes them through the scale subresource, and two owners of one number would
fight. Whoever creates a pool adds them once.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from pdscale.api.v1alpha1 import GROUP, KIND, VERSION, ServingDeployment
from pdscale.kube import pinning, rollouts
from pdscale.kube.manifests_engine import PROFILE_FILE
from pdscale.kube.manifests_parts import HTTP, HTTP_PORT, PICKER, PICKER_PORT
from pdscale.kube.manifests_pod import PROFILE_MAP, Defaults, Pods
from pdscale.kube.pools import DEPLOYMENT_LABEL, ROLE_LABEL
from pdscale.model.pools import Role
from pdscale.model.units import Seconds
from pdscale.perf.document import profile_document
from pdscale.perf.profile import Profile

Manifest = dict[str, Any]

FRONT: Final = "router"
_NONE: Final[Mapping[str, Any]] = MappingProxyType({})


def child_name(deployment: str, component: str) -> str:
    """Name of a pool's Deployment and Service, or of the front router's Deployment."""
    return f"{deployment}-{component}"


def render(
    deployment: ServingDeployment,
    *,
    profile: Profile,
    defaults: Defaults,
    live: Mapping[str, Any] = _NONE,
    observed_pause: Seconds | None = None,
) -> tuple[Manifest, ...]:
    """Everything to create, in the order in which it is needed.

    ``live`` are the Deployments that exist, by name: what depends on the load (``pinning``) is taken from
    them unless their pods change anyhow. A ``podTemplate`` that contradicts what the operator relies on
    raises ``InvalidSpec``.
    """
    children = _Children(deployment, Pods(deployment, defaults), live, observed_pause)
    own_profile = deployment.spec.profile.config_map is not None
    return (
        children.service_account(),
        children.role_binding(defaults.router_cluster_role),
        *([children.profile(profile)] if own_profile else []),
        children.front_service(),
        *(children.pool_service(role) for role in Role),
        children.front(),
        *(children.pool(r) for r in Role if deployment.spec.pool(r).scale_target_ref is None),
    )


@dataclass(frozen=True, slots=True)
class _Children:
    """The objects of one ServingDeployment, owned by it."""

    parent: ServingDeployment
    pods: Pods
    live: Mapping[str, Any]
    observed_pause: Seconds | None

    @property
    def name(self) -> str:
        return self.parent.metadata.name

    def service_account(self) -> Manifest:
        return self._object("v1", "ServiceAccount", child_name(self.name, FRONT), FRONT)

    def role_binding(self, cluster_role: str) -> Manifest:
        name = child_name(self.name, FRONT)
        rbac = "rbac.authorization.k8s.io"
        return self._object(f"{rbac}/v1", "RoleBinding", name, FRONT) | {
            "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": cluster_role},
            "subjects": [
                {"kind": "ServiceAccount", "name": name, "namespace": self.parent.metadata.namespace}
            ],
        }

    def profile(self, profile: Profile) -> Manifest:
        """The user's profile once it has been understood: a slip in an edit never reaches the routers."""
        text = json.dumps(profile_document(profile), indent=1)
        found = self._object("v1", "ConfigMap", child_name(self.name, PROFILE_MAP), FRONT)
        return found | {"data": {PROFILE_FILE: text}}

    def front_service(self) -> Manifest:
        ports: list[Manifest] = [{"name": HTTP, "port": 80, "targetPort": HTTP, "protocol": "TCP"}]
        if self.parent.spec.router.endpoint_picker:
            grpc = {"appProtocol": "kubernetes.io/h2c", "targetPort": PICKER, "protocol": "TCP"}
            ports.append({"name": PICKER, "port": PICKER_PORT, **grpc})
        spec = {"type": "ClusterIP", "selector": self._selector(FRONT), "ports": ports}
        return self._object("v1", "Service", self.name, FRONT) | {"spec": spec}

    def pool_service(self, role: Role) -> Manifest:
        port = {"name": HTTP, "port": HTTP_PORT, "targetPort": HTTP, "protocol": "TCP"}
        spec = {"clusterIP": "None", "selector": self._selector(role), "ports": [port]}
        return self._object("v1", "Service", child_name(self.name, role), role) | {"spec": spec}

    def front(self) -> Manifest:
        spec = {
            "replicas": self.parent.spec.router.replicas,
            "strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}, "type": "RollingUpdate"},
            "selector": {"matchLabels": self._selector(FRONT)},
            "template": self.pods.front(self._labels(FRONT)),
        }
        return self._object("apps/v1", "Deployment", child_name(self.name, FRONT), FRONT) | {"spec": spec}

    def pool(self, role: Role) -> Manifest:
        name, labels = child_name(self.name, role), self._labels(role)
        template = self.pods.of_pool(role, labels)
        noted: dict[str, str] = {}
        if pinning.applies(self.parent.spec):
            shape, given = rollouts.digest(template), pinning.explicit(self.parent.spec)
            kept = pinning.in_force(self.live.get(name), shape, given=given, observed=self.observed_pause)
            if kept != pinning.DEFAULT:
                template = self.pods.of_pool(role, labels, pinned_for=kept)
            noted = {pinning.TTL: str(kept), pinning.SHAPE: shape}
        noted[rollouts.TEMPLATE] = rollouts.digest(template)
        spec = {
            # A surge pod would wait for a GPU that only the pod it replaces can give.
            "strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}, "type": "RollingUpdate"},
            "selector": {"matchLabels": self._selector(role)},
            "template": template,
        }
        found = self._object("apps/v1", "Deployment", name, role)
        return found | {"metadata": found["metadata"] | {"annotations": noted}, "spec": spec}

    def _object(self, api_version: str, kind: str, name: str, component: str) -> Manifest:
        owner = {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": KIND,
            "name": self.name,
            "uid": self.parent.metadata.uid,
            "controller": True,
            "blockOwnerDeletion": True,
        }
        metadata = {
            "name": name,
            "namespace": self.parent.metadata.namespace,
            "labels": self._labels(component),
            "ownerReferences": [owner],
        }
        return {"apiVersion": api_version, "kind": kind, "metadata": metadata}

    def _labels(self, component: str) -> dict[str, str]:
        return {
            "app.kubernetes.io/name": "pdscale",
            "app.kubernetes.io/instance": self.name,
            "app.kubernetes.io/component": str(component),
            "app.kubernetes.io/managed-by": "pdscale",
            **self._selector(component),
        }

    def _selector(self, component: str) -> dict[str, str]:
        return {DEPLOYMENT_LABEL: self.name, ROLE_LABEL: str(component)}

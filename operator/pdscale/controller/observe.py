"""Everything that a tick must know, asked for once and given as values."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from pdscale.api import translate
from pdscale.api.v1alpha1 import ServingDeployment
from pdscale.kube.client import Kube, Object, path_of
from pdscale.kube.errors import NotFound
from pdscale.kube.manifests import FRONT, child_name
from pdscale.kube.pools import DEPLOYMENT_LABEL, of_role, pool_state
from pdscale.model.pools import PoolState, Role
from pdscale.model.units import Seconds
from pdscale.model.workload import NoData
from pdscale.perf.profile import Profile
from pdscale.prom.errors import MetricsUnavailable
from pdscale.scaling.history import History
from pdscale.scaling.policy import Mode, Policy


class HistorySource(Protocol):
    """A metrics server that knows a deployment's past."""

    async def history(
        self, *, namespace: str, name: str, window: Seconds, step: Seconds, now: Seconds
    ) -> History: ...


@dataclass(frozen=True, slots=True)
class Workloads:
    """The Deployments of one ServingDeployment by name, and its pods."""

    deployments: Mapping[str, Object]
    pods: tuple[Object, ...]

    def routers_ready(self, name: str) -> int:
        front = self.deployments.get(child_name(name, FRONT), {})
        return int(front.get("status", {}).get("readyReplicas", 0))

    def pool(self, deployment: str, role: Role) -> PoolState:
        return pool_state(self.deployments.get(deployment), of_role(self.pods, role))


@dataclass(frozen=True, slots=True)
class Observer:
    """Asks the API server and the metrics servers."""

    kube: Kube
    source_at: Callable[[str], HistorySource]

    async def profile(self, wanted: ServingDeployment) -> Profile:
        """The profile that the spec names, or ``InvalidSpec``: what is missing is the user's to add."""
        source = wanted.spec.profile
        if source.config_map is None:
            return translate.builtin_profile(source.name or "")
        namespace, name, key = wanted.metadata.namespace, source.config_map.name, source.config_map.key
        try:
            found = await self.kube.get(path_of("v1", "ConfigMap", namespace, name))
        except NotFound as error:
            raise translate.InvalidSpec(
                f"spec.profile.configMap.name must be a ConfigMap in {namespace}, got {name}"
            ) from error
        text = (found.get("data") or {}).get(key)
        if text is None:
            raise translate.InvalidSpec(f"spec.profile.configMap.key must be in ConfigMap {name}, got {key}")
        return translate.profile_from_text(text, where=f"ConfigMap {name}, key {key}")

    async def deployments(self, namespace: str, name: str) -> dict[str, Object]:
        found = await self.kube.list_items(
            path_of("apps/v1", "Deployment", namespace), selector=f"{DEPLOYMENT_LABEL}={name}"
        )
        return {d["metadata"]["name"]: d for d in found}

    async def workloads(self, namespace: str, name: str) -> Workloads:
        """Deployments first: a pod made in between is counted beside the ``desired`` that wanted it."""
        deployments = await self.deployments(namespace, name)
        pods = await self.kube.list_items(
            path_of("v1", "Pod", namespace), selector=f"{DEPLOYMENT_LABEL}={name}"
        )
        return Workloads(deployments, tuple(pods))

    async def history(self, wanted: ServingDeployment, policy: Policy, now: Seconds) -> History | NoData:
        if policy.mode is Mode.PAUSED:
            return NoData("scaling is paused")
        try:
            return await self.source_at(wanted.spec.prometheus.url).history(
                namespace=wanted.metadata.namespace,
                name=wanted.metadata.name,
                window=policy.history,
                step=policy.step,
                now=now,
            )
        except MetricsUnavailable as error:
            return NoData(error.reason)  # names the address

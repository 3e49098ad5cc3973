"""Everything that a tick must know, asked for once and given as values."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeVar

from pdscale.api import translate
from pdscale.api.v1alpha1 import ServingDeployment
from pdscale.controller.metrics_access import access_of, overrides
from pdscale.kube.client import Kube, Object, path_of
from pdscale.kube.errors import NotFound
from pdscale.kube.lean import lean
from pdscale.kube.manifests import FRONT, child_name
from pdscale.kube.pools import DEPLOYMENT_LABEL, of_role, pool_state
from pdscale.kube.targets import Target, Targets
from pdscale.model.pools import PoolState, Role
from pdscale.model.units import Seconds, parse_duration
from pdscale.model.workload import NoData
from pdscale.perf.profile import Profile
from pdscale.prom.access import Access
from pdscale.prom.errors import MetricsUnavailable
from pdscale.scaling.history import History
from pdscale.scaling.policy import Mode, Policy

_T = TypeVar("_T")

# An interval by default, in which a server of ordinary speed tells everything.
LEAST_PATIENCE: Final[Seconds] = 15.0

# Between a look at Deployments and one at pods others may write anyhow; seconds that change nothing.
FRESH: Final[Seconds] = 1.0


class HistorySource(Protocol):
    """A metrics server that knows a deployment's past."""

    async def history(
        self,
        *,
        namespace: str,
        name: str,
        window: Seconds,
        step: Seconds,
        now: Seconds,
        overrides: Mapping[str, str],
    ) -> History: ...

    async def instants(self, query: str, *, label: str) -> dict[str, float]: ...


class Asks(Protocol):
    """A metrics server, by way of an object that names it."""

    async def instants(
        self, wanted: ServingDeployment, query: str, *, label: str
    ) -> dict[str, float] | NoData:
        """Values of any query now, by one label."""


@dataclass(frozen=True, slots=True)
class Workloads:
    """The Deployments of one ServingDeployment by name, its pods, and ``targets`` in the place of pools."""

    deployments: Mapping[str, Object]
    pods: tuple[Object, ...]
    targets: Mapping[Role, Target] = field(default_factory=dict)

    def routers_ready(self, name: str) -> int:
        front = self.deployments.get(child_name(name, FRONT), {})
        return int(front.get("status", {}).get("readyReplicas", 0))

    def pool(self, deployment: str, role: Role) -> PoolState:
        if role in self.targets:
            return self.targets[role].pool
        return pool_state(self.deployments.get(deployment), self.of_role(role))

    def pools(self, name: str) -> dict[Role, PoolState]:
        """Both pools of the ServingDeployment of that name."""
        return {role: self.pool(child_name(name, role), role) for role in Role}

    def of_role(self, role: Role) -> list[Mapping[str, Any]]:
        """Pods that a role's replicas run in."""
        return list(self.targets[role].pods) if role in self.targets else of_role(self.pods, role)


@dataclass(frozen=True, slots=True)
class Observer:
    """Asks the API server and the metrics servers. ``default_server`` is the address of the metrics server of
    objects that name none.
    """

    kube: Kube
    source_at: Callable[[Access], HistorySource]
    targets: Targets
    default_server: str | None = None

    def server_of(self, wanted: ServingDeployment) -> str | None:
        return wanted.spec.prometheus.url or self.default_server

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

    async def workloads(self, wanted: ServingDeployment) -> Workloads:
        """Deployments first: a pod made in between is counted beside the ``desired`` that wanted it."""
        namespace, name = wanted.metadata.namespace, wanted.metadata.name
        deployments = await self.deployments(namespace, name)
        refs = {role: ref for role in Role if (ref := wanted.spec.pool(role).scale_target_ref) is not None}
        targets = {
            role: await self.targets.read(ref, namespace, where=f"spec.{role}.scaleTargetRef")
            for role, ref in refs.items()
        }
        pods = await self.kube.list_items(
            path_of("v1", "Pod", namespace), selector=f"{DEPLOYMENT_LABEL}={name}"
        )
        return Workloads(deployments, tuple(map(lean, pods)), targets)

    def in_a_tick(self, wanted: ServingDeployment, *, former: Workloads | None = None) -> "TickObserver":
        """This observer for one tick of ``wanted``: what it asks the metrics server shares one patience.

        ``former`` are the workloads of a former look that is as good as a new one.
        """
        patience = max(LEAST_PATIENCE, parse_duration(wanted.spec.prometheus.timeout))
        spent = _Spent(former=former)
        return TickObserver(self.kube, self.source_at, self.targets, self.default_server, patience, spent)


@dataclass(slots=True)
class _Spent:
    """What a tick's questions have used up so far, the server that they go to, once it is known, Deployments
    that were listed a moment ago, and a ``former`` look at everything.
    """

    seconds: Seconds = 0.0
    server: HistorySource | NoData | None = None
    kept: tuple[Seconds, dict[str, Object]] | None = None
    former: Workloads | None = None

    def drop(self) -> None:
        """What was kept is old by now, and large where many ticks wait for one metrics server."""
        self.kept = None


@dataclass(frozen=True, slots=True)
class TickObserver(Observer):
    """Asks for one object and one tick. Credentials are read once, with the first question.

    ``patience`` is for all answers of the metrics server together, however many pages a history has: a tick
    must end while others wait for its replicas, and before somebody takes the operator for dead. It is never
    below the longest wait for one page, so that each tick gets a page further (``prom.memory``).
    """

    patience: Seconds = LEAST_PATIENCE
    _spent: _Spent = field(default_factory=_Spent)

    @property
    def looks_back(self) -> bool:
        """Whether workloads are those of a former look."""
        return self._spent.former is not None

    def look_anew(self) -> None:
        """From now on workloads are read."""
        self._spent.former = self._spent.kept = None

    def keep(self, deployments: dict[str, Object]) -> None:
        """The next question for Deployments is answered by these, if it comes within a second."""
        if self.looks_back:
            return
        self._spent.kept = (time.monotonic(), deployments)
        asyncio.get_running_loop().call_later(FRESH, self._spent.drop)

    async def deployments(self, namespace: str, name: str) -> dict[str, Object]:
        """As the observer gives them, but for what was kept: half of a settled tick's bytes."""
        if self._spent.former is not None:
            return dict(self._spent.former.deployments)
        kept, self._spent.kept = self._spent.kept, None
        if kept is not None and time.monotonic() - kept[0] <= FRESH:
            return kept[1]
        return await Observer.deployments(self, namespace, name)

    async def workloads(self, wanted: ServingDeployment) -> Workloads:
        return self._spent.former or await Observer.workloads(self, wanted)

    async def history(self, wanted: ServingDeployment, policy: Policy, now: Seconds) -> History | NoData:
        if policy.mode is Mode.PAUSED:
            return NoData("scaling is paused")
        return await self._asked(
            wanted,
            lambda server: server.history(
                namespace=wanted.metadata.namespace,
                name=wanted.metadata.name,
                window=policy.history,
                step=policy.step,
                now=now,
                overrides=overrides(wanted.spec.prometheus),
            ),
        )

    async def instants(
        self, wanted: ServingDeployment, query: str, *, label: str
    ) -> dict[str, float] | NoData:
        return await self._asked(wanted, lambda server: server.instants(query, label=label))

    async def _asked(
        self, wanted: ServingDeployment, ask: Callable[[HistorySource], Awaitable[_T]]
    ) -> _T | NoData:
        if self._spent.server is None:
            self._spent.server = await self._server(wanted)
        if isinstance(self._spent.server, NoData):
            return self._spent.server
        began, left = time.monotonic(), self.patience - self._spent.seconds
        if left <= 0:
            return self._impatient(wanted)
        try:
            async with asyncio.timeout(left):
                return await ask(self._spent.server)
        except MetricsUnavailable as error:
            return NoData(error.reason)  # names the address
        except TimeoutError:
            return self._impatient(wanted)
        finally:
            self._spent.seconds += time.monotonic() - began

    def _impatient(self, wanted: ServingDeployment) -> NoData:
        return NoData(
            f"{self.server_of(wanted)}: no whole answer within the {self.patience:g}s of a tick; "
            "what was read is kept, and the next tick goes on"
        )

    async def _server(self, wanted: ServingDeployment) -> HistorySource | NoData:
        url = self.server_of(wanted)
        access = await access_of(self.kube, wanted.metadata.namespace, wanted.spec.prometheus, url=url)
        if isinstance(access, NoData):
            return access
        try:
            return self.source_at(access)
        except ValueError as error:  # certificates that are none
            return NoData(f"{url}: spec.prometheus.tls: {error}")

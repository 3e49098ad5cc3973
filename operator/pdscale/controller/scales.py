"""Writes the scales of both pools, be they Deployments of ours or objects that somebody else made."""

from dataclasses import dataclass

from pdscale.api.v1alpha1 import ServingDeployment
from pdscale.controller.observe import Workloads
from pdscale.kube.client import Kube
from pdscale.kube.manifests import child_name
from pdscale.kube.scale import Owned, Scalable, ScaleWrite, deployment_at, overrule, send, take, writes
from pdscale.model.pools import Role, Targets
from pdscale.telemetry import Metrics


@dataclass(frozen=True, slots=True)
class Scales:
    """Performs the writes of all objects."""

    kube: Kube
    metrics: Metrics

    async def write(
        self,
        wanted: ServingDeployment,
        workloads: Workloads,
        current: Targets,
        apply: Targets | None,
        *,
        takes: bool,
    ) -> tuple[tuple[ScaleWrite, ...], tuple[Owned, ...]]:
        """What was written and what others refused; ``apply`` None is to write nothing.

        ``takes``: somebody asks us to take the replicas, whoever owns them. Of a target only the scale is
        written, and there a claim moves with a write that changes the number, and with nothing else.
        """
        if takes:
            await self._take_ours(wanted, workloads, current)
        written, refused = [], []
        for write in () if apply is None else writes(current, apply):
            at, owned = _at(wanted, workloads, write.role), None
            if takes and write.role in workloads.targets:
                await overrule(self.kube, at, write.after)
            else:
                owned = await send(self.kube, write, at)
            result = "written" if owned is None else "refused"
            self.metrics.scale_writes.labels(write.role, write.direction, result).inc()
            if owned is None:
                written.append(write)
            else:
                refused.append(owned)
        return tuple(written), tuple(refused)

    async def _take_ours(self, wanted: ServingDeployment, workloads: Workloads, current: Targets) -> None:
        for role in Role:
            if role not in workloads.targets:
                await take(self.kube, _at(wanted, workloads, role), current.of(role))


def _at(wanted: ServingDeployment, workloads: Workloads, role: Role) -> Scalable:
    target = workloads.targets.get(role)
    own = deployment_at(wanted.metadata.namespace, child_name(wanted.metadata.name, role))
    return own if target is None else target.at

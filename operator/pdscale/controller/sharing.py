"""The cap that several ServingDeployments of a namespace share: read, divided by priority, and remembered.

The cap is a ResourceQuota's ``requests.nvidia.com/gpu``. The API server counts pods against it, those that
end included, and refuses what goes beyond: so the cap holds at every instant, whoever makes pods. What is
done here is to plan within it, and to let those of higher priority have theirs.

What members claim is kept in memory, by the one process that writes. A member of which this process has not
heard yet may hold all that its own ``gpuBudget`` allows: it keeps others from growing, not from staying.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from pdscale.api.v1alpha1 import ServingDeployment
from pdscale.controller.shared_budget import Member, allowance
from pdscale.controller.snapshot import Snapshot
from pdscale.kube.client import Kube, path_of
from pdscale.kube.errors import NotFound
from pdscale.kube.rivals import Rivals
from pdscale.model.pools import PoolState, Role, Targets
from pdscale.model.workload import NoData
from pdscale.scaling.demand import Demand
from pdscale.scaling.policy import Policy

HARD: Final = "requests.nvidia.com/gpu"


class NoSharedBudget(Exception):
    """The cap cannot be read; whoever owns the ResourceQuota or the spec has to act."""


@dataclass(frozen=True, slots=True)
class Share:
    """GPUs of a shared ``cap`` that one member may hold now. ``wanted`` is what it asked for."""

    quota: str
    cap: int
    allowed: int
    wanted: int

    def within(self, policy: Policy) -> Policy:
        """The policy with this part as its budget; never below what ``minReplicas`` hold, which stays."""
        return replace(policy, gpu_budget=max(least_of(policy), min(policy.gpu_budget, self.allowed)))


@dataclass(slots=True)
class SharedBudgets:
    """Divides caps among members. Between reading the claims and noting one nothing is awaited."""

    kube: Kube
    rivals: Rivals
    _members: dict[str, Member] = field(default_factory=dict)

    async def share(
        self, seen: Snapshot, wanted: ServingDeployment, policy: Policy, pools: Mapping[Role, PoolState]
    ) -> Share | None:
        """What the object may hold now, set aside for it until ``settle``; None if it shares nothing."""
        shared = wanted.spec.scaling.shared_budget
        if shared is None:
            return None
        cap = await self._cap(seen.namespace, shared.resource_quota)
        bodies = await self.rivals.objects(seen.namespace, uid=seen.uid, generation=seen.generation)
        claim = _claim(policy, pools, Targets(*(pools[role].desired for role in Role)))
        before = self._members.get(seen.uid)
        asked = claim if before is None else before.wanted
        me = Member(seen.name, shared.priority, least_of(policy), asked, claim)
        others = [self._member(b) for b in bodies if _shares(b, shared.resource_quota, but=seen.uid)]
        found = allowance(cap, [me, *others], seen.name)
        self._members[seen.uid] = replace(me, claim=max(claim, found))
        return Share(shared.resource_quota, cap, found, asked)

    def settle(
        self,
        seen: Snapshot,
        share: Share | None,
        policy: Policy,
        pools: Mapping[Role, PoolState],
        *,
        after: Targets,
        demand: Demand | NoData,
    ) -> Share | None:
        """Note what was made of a share: what pods hold or scales now say, and what the traffic needs."""
        if share is None:
            return None
        wanted, claim = needed(policy, demand, after), _claim(policy, pools, after)
        self._members[seen.uid] = replace(self._members[seen.uid], claim=claim, wanted=wanted)
        return replace(share, wanted=wanted)

    def forget(self, seen: Snapshot) -> None:
        self._members.pop(seen.uid, None)

    async def _cap(self, namespace: str, name: str) -> int:
        try:
            found = await self.kube.get(path_of("v1", "ResourceQuota", namespace, name))
        except NotFound as error:
            raise NoSharedBudget(
                f"spec.scaling.sharedBudget.resourceQuota must be in {namespace}, got {name}: there is none"
            ) from error
        hard = str(((found.get("spec") or {}).get("hard") or {}).get(HARD, ""))
        if not hard.isdecimal():
            raise NoSharedBudget(
                f"ResourceQuota {name} must have a whole number as spec.hard[{HARD!r}], got {hard or 'none'}"
            )
        return int(hard)

    def _member(self, body: Mapping[str, Any]) -> Member:
        meta = body["metadata"]
        return self._members.get(meta["uid"]) or _unheard(body)


def needed(policy: Policy, demand: Demand | NoData, current: Targets) -> int:
    """GPUs that traffic asks for, within the object's own bounds and budget; if unknown, the present."""
    wanted = current if isinstance(demand, NoData) else Targets(*(_replicas(policy, demand, r) for r in Role))
    return min(policy.gpu_budget, max(least_of(policy), policy.gpus.held_by(wanted)))


def least_of(policy: Policy) -> int:
    """GPUs that ``minReplicas`` hold."""
    return policy.gpus.held_by(Targets(policy.prefill.least, policy.decode.least))


def _replicas(policy: Policy, demand: Demand, role: Role) -> int:
    need, bounds = demand.of(role), policy.bounds(role)
    return bounds.most if math.isinf(need) else bounds.clamp(math.ceil(need))


def _claim(policy: Policy, pools: Mapping[Role, PoolState], scales: Targets) -> int:
    """What pods hold, or will once the scales say this."""
    return sum(policy.gpus.of(r) * replace(pools[r], desired=scales.of(r)).holding for r in Role)


def _shares(body: Mapping[str, Any], quota: str, *, but: str) -> bool:
    shared = ((body.get("spec") or {}).get("scaling") or {}).get("sharedBudget") or {}
    return bool(shared.get("resourceQuota") == quota and body["metadata"]["uid"] != but)


def _unheard(body: Mapping[str, Any]) -> Member:
    """What a stored object tells: it wants what it has, and may have more than was written down."""
    spec, status = body["spec"], body.get("status") or {}
    least = sum(spec[r].get("minReplicas", 1) * spec[r].get("gpusPerReplica", 1) for r in Role)
    held = max(least, int((status.get("gpus") or {}).get("held", 0)))
    priority = int(spec["scaling"]["sharedBudget"].get("priority", 0))
    return Member(body["metadata"]["name"], priority, least, held, int(spec["gpuBudget"]))

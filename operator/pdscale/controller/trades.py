"""Which part of a plan is one pool's gain at the other's cost, and whether running pods may change their role
for it. Without I/O.

Of 4P+4D to 3P+5D one replica is traded: a prefill pod drains and becomes the decode pod. What is not traded
goes the ordinary way. While a trade waits (for a drain, for pods that come and go, for the hold) neither
scale takes its part of the step: the receiving pool would start a pod on GPUs that the giving pool still
holds.

The hold keeps replicas from going back and forth: a trade against the last one waits as long as a new replica
would take to start, or the scale-down window where there is one. That is what a flip saves, so waiting is
never much slower than the other way.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pdscale.api import translate
from pdscale.api.v1alpha1 import ServingDeployment
from pdscale.controller.drafts import Draft
from pdscale.controller.rollout import Rollout
from pdscale.kube.client import Object
from pdscale.kube.flips import Flip, noted
from pdscale.kube.manifests import child_name
from pdscale.model.pools import Role, Targets
from pdscale.model.units import Seconds
from pdscale.scaling.policy import Policy


@dataclass(frozen=True, slots=True)
class Trade:
    """``count`` replicas that the pool of role ``to`` is to get from the other one."""

    to: Role
    count: int

    @property
    def source(self) -> Role:
        return self.to.other

    def undone(self, aim: Targets, *, owned_elsewhere: Collection[Role] = ()) -> Targets:
        """The aim without the trade, but for a scale that its owner must be seen to refuse."""
        kept = {self.to: aim.of(self.to) - self.count, self.source: aim.of(self.source) + self.count}
        return _pair({r: aim.of(r) if r in owned_elsewhere else kept[r] for r in Role})

    def beside(self, aim: Targets, allowed: Targets, *, unfit: int) -> Targets:
        """What the scales may say before anybody has changed its role.

        ``allowed`` is how far the giving pool has drained. Of its victims ``unfit`` cannot change their role;
        those are deleted, and the receiving pool gets new ones in their place, when their GPUs are free.
        """
        flips = max(0, self.count - unfit)
        giving = max(allowed.of(self.source), aim.of(self.source) + flips)
        return _pair({self.to: aim.of(self.to) - self.count, self.source: giving})


def trade(current: Targets, aim: Targets) -> Trade | None:
    for role in Role:
        gains, gives = aim.of(role) - current.of(role), current.of(role.other) - aim.of(role.other)
        if gains > 0 and gives > 0:
            return Trade(role, min(gains, gives))
    return None


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why no replica may change its role, as a condition's reason and message."""

    reason: str
    message: str


def obstacle(
    wanted: ServingDeployment, policy: Policy, drafts: Iterable[Draft], rollout: Rollout
) -> Obstacle | None:
    if not translate.flips(wanted.spec):
        return Obstacle("FlipsUnsupported", "a pool with a scaleTargetRef is not ours")
    if policy.gpus.prefill != policy.gpus.decode:
        return Obstacle("GpusDiffer", "gpusPerReplica must be the same for both roles")
    if not _same_shape(drafts):
        return Obstacle("TemplatesDiffer", "a running pod cannot change: both roles need one podTemplate")
    if not policy.flips:
        return Obstacle("StartUpQuicker", f"startupTime must be above {policy.flip:g}s for a flip to pay")
    if not rollout.over:
        return Obstacle("RollingOut", "pods of another template are being replaced")
    return None


def _same_shape(drafts: Iterable[Draft]) -> bool:
    """Labels differ by role, and are what a flip changes."""
    shapes = [d.shape for d in drafts if d.role is not None]
    return len(shapes) == len(Role) and shapes[0] == shapes[1]


def held(deployments: Mapping[str, Object], name: str, to: Role, policy: Policy, now: Seconds) -> bool:
    """Whether the last flip was into the pool that is to give, and not long ago."""
    last = last_flip(deployments, name)
    ended = None if last is None or last.to is to else last.ended
    return ended is not None and now - ended < hold(policy)


def hold(policy: Policy) -> Seconds:
    start_up = max(policy.start_up_prefill, policy.start_up_decode)
    return start_up if policy.scale_down_window is None else policy.scale_down_window


def last_flip(deployments: Mapping[str, Object], name: str) -> Flip | None:
    """One under way, or the one that began last."""
    notes = [f for role in Role if (f := noted(deployments.get(child_name(name, role)))) is not None]
    return max(notes, key=lambda f: (f.ended is None, f.began), default=None)


def settled(deployments: Mapping[str, Object], name: str, there: Mapping[Role, Sequence[Any]]) -> bool:
    """Whether either pool has as many pods ``there`` as its scale says: nobody comes or goes."""
    wanted = {role: deployments.get(child_name(name, role)) for role in Role}
    return all(
        item is not None and len(there[role]) == item["spec"]["replicas"] for role, item in wanted.items()
    )


def _pair(counts: Mapping[Role, int]) -> Targets:
    return Targets(counts[Role.PREFILL], counts[Role.DECODE])

"""Another template reaches one pool after the other: image and argument changes never hit both at once.

The second pool gets its template when the first one's pods are all new and available, prefill first: what an
image or an argument breaks, it breaks where decode replicas can still compute prompts themselves. Everything
is read from the Deployments at each tick, so a restart goes on.

A pool that still rolls when the spec is edited again gets the newer template at once, before the other one:
the edit may be what repairs it. A pool that gets nowhere (``ProgressDeadlineExceeded``) keeps the other from
being touched until it does, or until an edit changes its template.

Meanwhile prefill and decode run different versions side by side. It is assumed that engines whose KV does not
fit refuse each other when they meet, as vLLM's NIXL connector does by a hash of version and configuration
(vllm-project/vllm, pull request 29503). The round is then computed by the decode replica alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pdscale.controller.drafts import Draft
from pdscale.kube.client import Object
from pdscale.kube.manifests import child_name
from pdscale.kube.rollouts import Progress, progress, template_of
from pdscale.model.pools import Role


@dataclass(frozen=True, slots=True)
class Rollout:
    """``rolling`` is the role whose pods are being replaced; those ``waiting`` keep their template meanwhile.

    ``stuck`` is what its controller says where it has given up hope.
    """

    rolling: Role | None = None
    waiting: tuple[Role, ...] = ()
    stuck: str | None = None
    lacking: int = 0

    @property
    def over(self) -> bool:
        return self.rolling is None and not self.waiting


SETTLED = Rollout()


def staged(
    drafts: Sequence[Draft], deployments: Mapping[str, Object], name: str
) -> tuple[tuple[Draft, ...], Rollout]:
    """What may be applied now, and how far the roll-out is. A pool that is not there yet is no roll-out."""
    wanted = {d.name: d for d in drafts if d.kind == "Deployment"}
    names = {role: child_name(name, role) for role in Role}
    live = {role: deployments[n] for role, n in names.items() if n in deployments and n in wanted}
    steps = {role: progress(item) for role, item in live.items()}
    behind = [r for r in live if template_of(live[r]) != wanted[names[r]].template]
    behind.sort(key=lambda role: steps[role].complete)  # who rolls already comes first
    found = _next(behind, steps)
    held = {names[role] for role in found.waiting}
    return tuple(d for d in drafts if d.role is None or d.name not in held), found


def _next(behind: Sequence[Role], steps: Mapping[Role, Progress]) -> Rollout:
    """The first of those that are behind gets its template, if nobody else is still on the way."""
    for role, step in steps.items():
        if role not in behind and (step.moving or (behind and not step.complete)):
            return Rollout(role, tuple(behind), step.stuck, step.lacking)
    if not behind:
        return SETTLED
    return Rollout(behind[0], tuple(behind[1:]))

"""Whether a pool may be made now: its first replicas need GPUs that pods of an earlier object may still hold.

An object that was deleted and made again meets the pods of its predecessor, which finish their work. They
count against the budget as all pods do, so the new pools wait for them.
"""

from pdscale.controller.observe import Workloads
from pdscale.controller.sharing import Share, least_of
from pdscale.kube.manifests import child_name
from pdscale.model.pools import Role
from pdscale.scaling.policy import Policy


class NoRoomYet(Exception):
    """Pods that nobody wants any more hold the GPUs; they will end by themselves."""


def check(workloads: Workloads, name: str, policy: Policy) -> None:
    """Raise ``NoRoomYet`` while pods that are to go keep the first replicas of a missing pool out."""
    pools = {role: workloads.pool(child_name(name, role), role) for role in Role}
    ours = [role for role in Role if role not in workloads.targets]
    missing = [role for role in ours if child_name(name, role) not in workloads.deployments]
    wanted = sum(policy.gpus.of(role) * policy.bounds(role).least for role in missing)
    held = sum(policy.gpus.of(role) * pools[role].holding for role in Role)
    left_over = any(pool.holding > pool.desired for pool in pools.values())
    if left_over and held + wanted > policy.gpu_budget:
        pods = " and ".join(role for role in Role if pools[role].holding > pools[role].desired)
        raise NoRoomYet(f"{pods} pods of before hold GPUs; new pools fit in gpuBudget when they are gone")


def check_share(share: Share | None, policy: Policy) -> None:
    """Raise ``NoRoomYet`` while others hold so much of a shared budget that the first replicas do not fit."""
    if share is not None and share.allowed < least_of(policy):
        raise NoRoomYet(
            f"minReplicas hold {least_of(policy)} GPUs, of ResourceQuota {share.quota} {share.allowed} of "
            f"{share.cap} may be held now; others have to give some back"
        )

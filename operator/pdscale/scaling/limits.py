"""Bounds, and a GPU budget that holds at every instant."""

from pdscale.model.plan import Plan, Reason
from pdscale.model.pools import Bounds, GpusPerReplica, PoolState, Role, Targets


def within_bounds(plan: Plan, *, prefill: Bounds, decode: Bounds) -> Plan:
    t = plan.targets
    return plan.then(Reason.BOUNDED, Targets(prefill.clamp(t.prefill), decode.clamp(t.decode)))


def within_budget(
    plan: Plan,
    *,
    prefill: Bounds,
    decode: Bounds,
    gpus: GpusPerReplica,
    budget: int,
    needed: Targets | None = None,
) -> Plan:
    """Take replicas away until the targets fit: those beyond the need first, then of the larger holder.

    6P are held, 2P+6D are needed, budget 8: 2P+6D, though decode then is the larger holder. The second rule
    is for targets that were not planned for this budget: held ones after the budget was lowered.
    """
    p, d = plan.targets.prefill, plan.targets.decode
    if needed is not None:
        spare_p, spare_d = max(0, p - needed.prefill), max(0, d - needed.decode)
        while gpus.held_by(Targets(p, d)) > budget and (spare_p or spare_d):
            if spare_p * gpus.prefill >= spare_d * gpus.decode:
                p, spare_p = p - 1, spare_p - 1
            else:
                d, spare_d = d - 1, spare_d - 1
    while gpus.held_by(Targets(p, d)) > budget and (p > prefill.least or d > decode.least):
        larger_prefill = p * gpus.prefill >= d * gpus.decode
        if p > prefill.least and (larger_prefill or d <= decode.least):
            p -= 1
        else:
            d -= 1
    return plan.then(Reason.BUDGETED, Targets(p, d), f"gpuBudget {budget}")


def shrink_before_grow(
    plan: Plan,
    *,
    prefill: PoolState,
    decode: PoolState,
    gpus: GpusPerReplica,
    budget: int,
    flips: bool = False,
) -> Plan:
    """Let a pool grow only into GPUs that nobody holds now: the other's pods must really be gone.

    Unless replicas may change their role (``flips``, GPUs alike): what one pool gives up the other gets in
    the same step, as the same pods on the same GPUs.

    A pod that is starting, unschedulable or terminating holds its GPUs. Budget 8, 4P+4D of one GPU each,
    plan 2P+6D: first 2P+4D, and 2P+6D only when two prefill pods have ended.
    """
    states = {Role.PREFILL: prefill, Role.DECODE: decode}
    held = sum(gpus.of(r) * states[r].holding for r in Role)
    free = max(0, budget - held)
    granted: dict[Role, int] = {}
    for role in Role:
        current, target = states[role].desired, plan.targets.of(role)
        growth = max(0, target - current)
        flipped = min(growth, _given(role, states, plan.targets)) if flips else 0
        allowed = min(growth - flipped, free // gpus.of(role))
        free -= allowed * gpus.of(role)
        granted[role] = current + flipped + allowed if growth else target
    targets = Targets(granted[Role.PREFILL], granted[Role.DECODE])
    return plan.then(Reason.SHRINK_BEFORE_GROW, targets, f"{held} of {budget} GPUs are held")


def _given(role: Role, states: dict[Role, PoolState], targets: Targets) -> int:
    """Replicas of the other role that are not wanted there any more."""
    other = Role.DECODE if role is Role.PREFILL else Role.PREFILL
    return max(0, states[other].desired - targets.of(other))

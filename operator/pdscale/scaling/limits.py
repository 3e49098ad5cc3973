"""Bounds, and a GPU budget that holds at every instant."""

from pdscale.model.plan import Plan, Reason
from pdscale.model.pools import Bounds, GpusPerReplica, PoolState, Role, Targets


def within_bounds(plan: Plan, *, prefill: Bounds, decode: Bounds) -> Plan:
    t = plan.targets
    return plan.then(Reason.BOUNDED, Targets(prefill.clamp(t.prefill), decode.clamp(t.decode)))


def within_budget(plan: Plan, *, prefill: Bounds, decode: Bounds, gpus: GpusPerReplica, budget: int) -> Plan:
    """Take replicas away, one by one from the larger holder of GPUs, until the targets fit.

    Only for targets that were not planned for this budget: held ones after the budget was lowered.
    """
    p, d = plan.targets.prefill, plan.targets.decode
    while gpus.held_by(Targets(p, d)) > budget and (p > prefill.least or d > decode.least):
        larger_prefill = p * gpus.prefill >= d * gpus.decode
        if p > prefill.least and (larger_prefill or d <= decode.least):
            p -= 1
        else:
            d -= 1
    return plan.then(Reason.BUDGETED, Targets(p, d), f"gpuBudget {budget}")


def shrink_before_grow(
    plan: Plan, *, prefill: PoolState, decode: PoolState, gpus: GpusPerReplica, budget: int
) -> Plan:
    """Let a pool grow only into GPUs that nobody holds now: the other's pods must really be gone.

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
        allowed = min(growth, free // gpus.of(role))
        free -= allowed * gpus.of(role)
        granted[role] = current + allowed if growth else target
    targets = Targets(granted[Role.PREFILL], granted[Role.DECODE])
    return plan.then(Reason.SHRINK_BEFORE_GROW, targets, f"{held} of {budget} GPUs are held")

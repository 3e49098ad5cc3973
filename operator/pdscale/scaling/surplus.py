"""Replicas beyond the need: spare ones for a burst, and those on GPUs that are paid for anyway.

Both come after everything that is planned, and are the first that a short budget takes back.
"""

import math
from dataclasses import replace

from pdscale.model.plan import Plan, Reason
from pdscale.model.pools import Role, Targets
from pdscale.model.units import Seconds
from pdscale.model.workload import NoData, Workload
from pdscale.scaling.demand import NOTHING, Demand
from pdscale.scaling.fixed_total import best_split
from pdscale.scaling.policy import Policy
from pdscale.scaling.schedule import floor_of, raised


def scheduled(policy: Policy, now: Seconds) -> Policy:
    """The policy with the minimums that its schedules ask for at ``now`` (epoch seconds)."""
    if not policy.schedules:
        return policy
    starts = {Role.PREFILL: policy.start_up_prefill, Role.DECODE: policy.start_up_decode}
    floor = Targets(*(floor_of(r, policy.schedules, now=now, lead=starts[r] + policy.interval) for r in Role))
    least = raised(
        floor, prefill=policy.prefill, decode=policy.decode, gpus=policy.gpus, budget=policy.gpu_budget
    )
    return replace(
        policy,
        prefill=replace(policy.prefill, least=least.prefill),
        decode=replace(policy.decode, least=least.decode),
    )


def needed_of(current: Targets, policy: Policy) -> Targets:
    """What is there without its spare replicas: what tolerances and holds compare a need with."""
    return Targets(*(max(0, current.of(r) - policy.spare.of(r)) for r in Role))


def beyond_need(
    plan: Plan,
    demand: Demand | NoData,
    policy: Policy,
    *,
    current: Targets,
    arriving: Workload | None = None,
) -> Plan:
    """A plan for what is needed, with spare replicas and on all reserved GPUs."""
    plan = _with_spare(plan, policy)
    split = _either_prefills(plan, demand, policy, current=current, arriving=arriving)
    if split is None:
        return _on_reserved(plan, demand, policy, current=current)
    return plan.then(Reason.RESERVED, split, f"{policy.reserved_gpus} GPUs are reserved")


def _with_spare(plan: Plan, policy: Policy) -> Plan:
    """2P+3D are needed, one decode replica is to be spare: 2P+4D. The budget is kept later."""
    if policy.spare == Targets(0, 0):
        return plan
    targets = Targets(*(plan.targets.of(r) + policy.spare.of(r) for r in Role))
    targets = _within_maximums(targets, policy)
    return plan.then(Reason.SPARE, targets, f"{policy.spare} beyond the need")


def _either_prefills(
    plan: Plan,
    demand: Demand | NoData,
    policy: Policy,
    *,
    current: Targets,
    arriving: Workload | None,
) -> Targets | None:
    """The split of all reserved GPUs that carries most, where decode replicas prefill as the router sees fit
    and no more than what is reserved is needed."""
    if isinstance(demand, NoData) or arriving is None or not policy.either_prefills:
        return None
    held = policy.gpus.held_by(_within_maximums(plan.targets, policy))
    if not 0 < policy.reserved_gpus >= min(held, policy.gpu_budget):
        return None
    return best_split(arriving, demand, policy, total=policy.reserved_gpus, current=current)


def _on_reserved(plan: Plan, demand: Demand | NoData, policy: Policy, *, current: Targets) -> Plan:
    """Use all reserved GPUs: a free ratio under a fixed total, which is DOPD's question.

    Replicas beyond the need stay what they are for as long as the other stage does not need them: their GPUs
    are paid for either way, and a change of role costs a drain. New ones go to the stage that is scarcer.
    (Phases of 15 minutes, where all surplus followed the ratio: 1P+7D for 3.3D needed, and the next phase
    waited four minutes for decode replicas to drain.)
    """
    reserved = min(policy.reserved_gpus, policy.gpu_budget)
    planned = _within_maximums(plan.targets, policy)
    if policy.gpus.held_by(planned) >= reserved:
        return plan
    found = {role: planned.of(role) for role in Role}

    def wish(role: Role) -> tuple[bool, float, int]:
        return found[role] >= current.of(role), _carried(demand, role, found[role]), found[role]

    while True:
        left = reserved - sum(policy.gpus.of(role) * found[role] for role in Role)
        may = [r for r in Role if policy.gpus.of(r) <= left and found[r] < policy.bounds(r).most]
        if not may:
            break
        found[min(may, key=wish)] += 1
    targets = Targets(found[Role.PREFILL], found[Role.DECODE])
    return plan.then(Reason.RESERVED, targets, f"{reserved} GPUs are reserved")


def _within_maximums(targets: Targets, policy: Policy) -> Targets:
    """What is beyond them will not come, so it neither is spare nor uses a reserved GPU."""
    return Targets(*(min(targets.of(r), policy.bounds(r).most) for r in Role))


def _carried(demand: Demand | NoData, role: Role, replicas: int) -> float:
    if isinstance(demand, NoData) or demand.of(role) <= NOTHING:
        return math.inf
    return demand.carried(role, replicas)

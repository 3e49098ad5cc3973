"""Why the pools have the sizes that they have, and what would change it: from the stored object alone.

Whoever may ``get`` the object may ask. Everything is what the operator has written down, but for the pairs
around the plan, which follow from the need and the limits:

    share(P, D) = min(P / need of prefill, D / need of decode, 1)

and the rate at which a role needs its next replica, rate * count / need, since the need grows with the rate
while lengths stay the same (``pdscale.scaling.demand``).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pdscale.controller.say import APPROVE, TAKE, Say
from pdscale.model.pools import Role, Targets

Json = dict[str, Any]
GOOD_FALSE = ("Paused", "Draining")  # conditions that are as they should be when they do not hold
_KEPT = "a start-up and a drain, what of the start-up is beyond a minute twice"  # scaling.holding


@dataclass(frozen=True, slots=True)
class Seen:
    """A stored object, and how its parts are found."""

    body: Mapping[str, Any]

    @property
    def spec(self) -> Mapping[str, Any]:
        return self.body.get("spec") or {}

    @property
    def status(self) -> Mapping[str, Any]:
        return self.body.get("status") or {}

    @property
    def scaling(self) -> Mapping[str, Any]:
        return self.spec.get("scaling") or {}

    def pool(self, role: Role) -> Mapping[str, Any]:
        return self.spec.get(role) or {}

    @property
    def planned(self) -> Targets | None:
        plan = self.status.get("plan")
        return None if plan is None else Targets(plan["prefill"], plan["decode"])

    def need(self, role: Role) -> float | None:
        found: float | None = ((self.status.get("demand") or {}).get(role) or {}).get("replicas")
        return found

    def gpus(self, targets: Targets) -> int:
        return sum(targets.of(role) * int(self.pool(role).get("gpusPerReplica", 1)) for role in Role)

    def condition(self, kind: str) -> Mapping[str, Any]:
        return next((c for c in self.status.get("conditions") or () if c["type"] == kind), {})


def explained(body: Mapping[str, Any]) -> Json:
    """Everything there is to say; parts of which nothing is known are left out."""
    seen = Seen(body)
    status = seen.status
    parts: Json = {
        "namespace": body["metadata"].get("namespace", "default"),
        "name": body["metadata"]["name"],
        "mode": seen.scaling.get("mode", "Auto"),
        "replicas": {role: status.get(role) for role in Role if status.get(role)},
        "gpus": status.get("gpus"),
        "traffic": status.get("workload"),
        "forecast": status.get("forecast"),
        "demand": status.get("demand"),
        "profile": status.get("profile"),
        "candidates": list(_candidates(seen)),
        "plan": status.get("plan"),
        "binding": _binding(seen),
        "proposal": status.get("proposal"),
        "kvBlocksTtl": status.get("kvBlocksTtl"),
        "history": status.get("history"),
        "concerns": list(_concerns(seen)),
        "wouldChange": list(_would_change(seen)),
    }
    return {key: value for key, value in parts.items() if value not in (None, [], {}, "")}


def _candidates(seen: Seen) -> Iterator[Json]:
    """The plan and its four neighbours, each with what speaks against it."""
    plan = seen.planned
    if plan is None or any(seen.need(role) is None for role in Role):
        return
    for p, d in ((0, 0), (-1, 0), (0, -1), (1, 0), (0, 1)):
        if plan.prefill + p < 0 or plan.decode + d < 0:
            continue
        pair = Targets(plan.prefill + p, plan.decode + d)
        verdict = "planned" if pair == plan else _against(seen, pair, plan)
        yield {
            "prefill": pair.prefill,
            "decode": pair.decode,
            "gpus": seen.gpus(pair),
            "share": round(_share(seen, pair), 2),
            "verdict": verdict,
        }


def _share(seen: Seen, pair: Targets) -> float:
    needs = {role: seen.need(role) or 0.0 for role in Role}
    return min([1.0, *(pair.of(role) / need for role, need in needs.items() if need > 0)])


def _against(seen: Seen, pair: Targets, plan: Targets) -> str:
    for role in Role:
        least, most = seen.pool(role).get("minReplicas", 1), seen.pool(role)["maxReplicas"]
        if pair.of(role) < least:
            return f"below {role}.minReplicas {least}"
        if pair.of(role) > most:
            return f"above {role}.maxReplicas {most}"
    budget = seen.spec["gpuBudget"]
    if seen.gpus(pair) > budget:
        return f"above gpuBudget {budget}"
    if _share(seen, pair) < _share(seen, plan):
        return f"carries {_share(seen, pair):.0%} of the need"
    if seen.gpus(pair) > seen.gpus(plan):
        return f"{seen.gpus(pair) - seen.gpus(plan)} GPUs more for the same need"
    return "carries the need; kept by tolerance, or for as long as a change would cost"


def _binding(seen: Seen) -> str:
    """What keeps the plan from being another one."""
    unattainable = seen.condition("SLOAttainable")
    if unattainable.get("status") == "False":
        return str(unattainable["message"])
    trail = (seen.status.get("plan") or {}).get("trail") or ()
    if trail:
        last = trail[-1]
        note = f": {last['note']}" if last.get("note") else ""
        return f"{last['reason']}{note}"
    return ""


def _concerns(seen: Seen) -> Iterator[str]:
    for condition in seen.status.get("conditions") or ():
        wrong = "True" if condition["type"] in GOOD_FALSE else "False"
        if condition["status"] == wrong:
            yield f"{condition['type']}: {condition['reason']}: {condition.get('message', '')}"


def _would_change(seen: Seen) -> Iterator[str]:
    yield from _acts(seen)
    plan, expected = seen.planned, _expected(seen)
    if plan is None or expected is None:
        if seen.status:
            yield "a request rate that is known: see the condition MetricsAvailable"
        return
    tolerance = float(seen.scaling.get("tolerance", 0.1))
    for role in Role:
        count, need = plan.of(role), seen.need(role)
        if need is None:
            yield f"another profile or SLO: no number of {role} replicas meets this one"
        elif need > 0 and count > 0:
            more = expected * count / need * (1 + tolerance)
            yield f"{role} grows above {more:.3g} rounds/s expected, with lengths as they are"
            if count > int(seen.pool(role).get("minReplicas", 1)):
                window = seen.scaling.get("scaleDownWindow")
                less = expected * (count - 1) / need
                yield f"{role} shrinks below {less:.3g} rounds/s expected for {window or _KEPT}"


def _expected(seen: Seen) -> float | None:
    """The rate that was sized for: the need belongs to it."""
    rate: float | None = (seen.status.get("workload") or {}).get("requestRate")
    return rate if seen.status.get("demand") else None


def _acts(seen: Seen) -> Iterator[str]:
    """What a person can do about it now."""
    name, mode = seen.body["metadata"]["name"], seen.scaling.get("mode", "Auto")
    proposal = seen.status.get("proposal")
    if proposal and not proposal["approved"]:
        yield f"pdscale approve {name} (annotation {APPROVE}={proposal['id']}), until {proposal['expires']}"
    if mode in ("Recommend", "Paused"):
        yield f"scaling.mode: {mode} writes nothing; Auto or Approve do"
    for pause in Say.of(seen.body).pauses:
        yield f"without the annotation {pause}"
    if seen.condition("ScalingActive").get("reason") == "ReplicasOwnedElsewhere":
        yield f"pdscale take {name} (annotation {TAKE} with a new value), once the other writer is gone"

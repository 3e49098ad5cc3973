"""The page's JSON: ``{source, at, leads, objects: [...]}``, objects by namespace and name.

An object is what ``pdscale explain`` says of it (``pdscale.controller.explain``), its pools, its conditions,
and ``live``, which only the operator's own memory can tell (``pdscale.controller.view.sight``); null
otherwise. Times are seconds of the epoch, or RFC 3339 where the status has them so.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pdscale.controller.explain import GOOD_FALSE, Seen, explained
from pdscale.model.pools import Role
from pdscale.model.units import Seconds

Json = dict[str, Any]


def state(
    objects: Sequence[Json], *, source: Literal["operator", "objects"], at: Seconds, leads: bool
) -> Json:
    """``source``: an operator's memory, or the stored objects. Who does not lead knows none."""
    listed = sorted(objects, key=lambda o: (o["namespace"], o["name"]))
    return {"source": source, "at": at, "leads": leads, "objects": listed}


def stored(body: Mapping[str, Any], live: Json | None = None) -> Json:
    """One object as JSON, from what is stored and what is known besides."""
    seen = Seen(body)
    return {
        **explained(body),
        "model": seen.spec.get("model"),
        "engine": (seen.spec.get("engine") or {}).get("type"),
        "slo": seen.spec.get("slo"),
        "pools": {role: _pool(seen, role) for role in Role},
        "gpus": seen.status.get("gpus") or {"budget": seen.spec.get("gpuBudget")},
        "conditions": [_condition(c) for c in seen.status.get("conditions") or ()],
        "live": live,
    }


def _pool(seen: Seen, role: Role) -> Json:
    spec, status = seen.pool(role), seen.status.get(role) or {}
    wanted = seen.planned
    return {
        "least": spec.get("minReplicas", 1),
        "most": spec.get("maxReplicas"),
        "gpusPerReplica": spec.get("gpusPerReplica", 1),
        "wanted": None if wanted is None else wanted.of(role),
        **{k: v for k, v in status.items() if k != "summary"},
    }


def _condition(condition: Mapping[str, Any]) -> Json:
    """``good`` is null where nothing is known, or where neither answer is better."""
    status, good = condition["status"], None
    if condition["type"] in GOOD_FALSE:
        good = True if status == "False" else None
    elif status != "Unknown":
        good = status == "True"
    kept = {k: condition.get(k) for k in ("type", "status", "reason", "message", "lastTransitionTime")}
    return {**kept, "good": good}

"""A plan as text for people and as JSON for programs."""

import json
import math
from typing import Any, Final

from pdscale.scenarios.plans.asked import SHARED
from pdscale.scenarios.plans.kinds import Kind
from pdscale.scenarios.plans.planning import Alternative, Plan
from pdscale.scenarios.tables import aligned, told

SCHEMA: Final = "pdscale.io/plan/v1"
COLUMNS: Final = (
    "prefill profile",
    "decode profile",
    "fleet",
    "GPUs",
    "GPU-h",
    "cost/h",
    "carries %",
    "both %",
    "TTFT %",
    "TPOT %",
    "binds",
)


def as_text(plan: Plan) -> str:
    """One line that says what to take, or why there is nothing, then the alternatives as a table. Costs stand
    there only if somebody said prices."""
    rows = [_cells(plan, a) for a in plan.alternatives[: plan.asked.show]]
    shown = [i for i, name in enumerate(COLUMNS) if plan.asked.priced or name != "cost/h"]
    table = [[row[i] for i in shown] for row in (COLUMNS, *rows)]
    hidden = len(plan.alternatives) - len(rows)
    more = f"{hidden} more with --show {len(plan.alternatives)}\n" if hidden else ""
    return f"{_verdict(plan)}\n{aligned(table, left=3)}{more}"


def _verdict(plan: Plan) -> str:
    asked, chosen = plan.asked, plan.chosen
    if chosen is None:
        target = f"{asked.settings.attainment:.4g}"
        return f"no fleet within {asked.gpus} GPUs is known to attain {target}: {plan.constraint}"
    found = chosen.candidate
    prefill, decode = (_named(k) for k in (found.pair.prefill, found.pair.decode))
    kinds = prefill if prefill == decode else f"prefill {prefill}, decode {decode}"
    cost = f", {found.cost:.2f} an hour" if asked.priced else ""
    return f"{found.fleet} of {kinds}: {found.gpus} of {asked.gpus} GPUs{cost}"


def _named(kind: Kind) -> str:
    return f"{kind.label} with {kind.gpus} GPU{'s' if kind.gpus > 1 else ''} each"


def _cells(plan: Plan, row: Alternative) -> list[str]:
    c, t = row.candidate, row.trial
    simulated = (
        ["-"] * 3 if t is None else map(_percent, (t.attainment, t.ttft_attainment, t.tpot_attainment))
    )
    return [
        c.pair.prefill.label,
        c.pair.decode.label,
        str(c.fleet),
        str(c.gpus),
        f"{plan.hours(c.gpus):.2f}",
        f"{c.cost:.2f}",
        _percent(c.carried),
        *simulated,
        str(c.binding),
    ]


def _percent(share: float) -> str:
    return f"{share * 100:.1f}"


def as_json(plan: Plan) -> str:
    asked, settings = plan.asked, told(plan.asked.settings)
    if asked.source is not None:
        settings["trace"] = None  # was a file for as long as the plan was made
    document = {
        "schema": SCHEMA,
        "settings": {f.name: settings[f.name] for f in SHARED},
        "source": asked.source,
        "profiles": [_profile(k, priced=asked.priced) for k in asked.kinds],
        "gpus": asked.gpus,
        "windows": {"count": len(plan.windows.workloads), "seconds": plan.windows.seconds},
        "plan": None if plan.chosen is None else record(plan, plan.chosen),
        "constraint": plan.constraint,
        "alternatives": [record(plan, a) for a in plan.alternatives],
    }
    return json.dumps(document, indent=2, allow_nan=False) + "\n"


def _profile(kind: Kind, *, priced: bool) -> dict[str, Any]:
    return {"name": kind.name, "gpus": kind.gpus} | ({"price": kind.price} if priced else {})


def record(plan: Plan, row: Alternative) -> dict[str, Any]:
    """Shares of one, hours; ``load`` is ``null`` where no number of replicas does."""
    c, t, load = row.candidate, row.trial, row.candidate.binding.load
    return {
        "prefill_profile": c.pair.prefill.name,
        "decode_profile": c.pair.decode.name,
        "gpus_prefill": c.pair.prefill.gpus,
        "gpus_decode": c.pair.decode.gpus,
        "prefill": c.fleet.prefill,
        "decode": c.fleet.decode,
        "gpus": c.gpus,
        "gpu_hours": plan.hours(c.gpus),
        **({"cost": plan.hours(c.cost), "cost_per_hour": c.cost} if plan.asked.priced else {}),
        "carried": c.carried,
        "binding": {
            "role": str(c.binding.role),
            "limit": str(c.binding.limit),
            "load": load if math.isfinite(load) else None,
        },
        "simulated": None
        if t is None
        else {
            "attainment": t.attainment,
            "ttft_attainment": t.ttft_attainment,
            "tpot_attainment": t.tpot_attainment,
            "by_seed": [v.attainment for v in t.verdicts],
        },
    }

"""From the custom resource to the vocabulary of the core.

Everything that can be wrong with an object ends here as one ``InvalidSpec``: a condition for the user,
never an exception for the loop. Messages name the field, the value and the bound.
"""

import json
from collections.abc import Mapping
from datetime import time
from difflib import get_close_matches
from typing import Any, Final, Literal, get_args
from zoneinfo import ZoneInfo

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from pdscale.api import v1alpha1 as schema
from pdscale.api.v1alpha1 import Metadata, PaceRules, Pool, ServingDeployment, Spec
from pdscale.model.pools import Bounds, GpusPerReplica, Targets
from pdscale.model.slo import SLO
from pdscale.model.units import Seconds, parse_duration
from pdscale.perf.builtin import BUILTIN
from pdscale.perf.document import read_profile
from pdscale.perf.profile import Profile
from pdscale.scaling.pace import Behavior, PacePolicy, Rules, Select, Unit
from pdscale.scaling.policy import Mode, Policy
from pdscale.scaling.schedule import Schedule

# From the drain's end until the pod serves in its new role: 0.4 s of the control plane, and a watch.
# An SGLang engine has to change, too; how long that takes is assumed, not measured.
FLIP: Final[Seconds] = 2.0
FLIP_OF_ENGINE: Final[Seconds] = 10.0


class InvalidSpec(ValueError):
    """The user has to change the object, or the ConfigMap that it names; a retry does not help."""


def read(body: Mapping[str, Any]) -> ServingDeployment:
    """Read a stored object; fields that this version does not know are ignored."""
    return _read(body, extra="ignore")


def read_strictly(body: Mapping[str, Any]) -> ServingDeployment:
    """Read what a person wrote just now; a field that nobody knows is a mistake."""
    return _read(body, extra="forbid")


def policy(spec: Spec, profile: Profile) -> Policy:
    """What the autoscaler needs to know of a spec."""
    window = spec.scaling.scale_down_window
    try:
        return Policy(
            slo=SLO(
                ttft=parse_duration(spec.slo.ttft),
                tpot=parse_duration(spec.slo.tpot),
                attainment=spec.slo.attainment,
            ),
            prefill=_bounds(spec.prefill),
            decode=_bounds(spec.decode),
            gpus=GpusPerReplica(spec.prefill.gpus_per_replica, spec.decode.gpus_per_replica),
            gpu_budget=spec.gpu_budget,
            profile=profile,
            forecast_model=spec.forecast.model,
            quantile=spec.forecast.quantile,
            history=parse_duration(spec.forecast.history),
            step=parse_duration(spec.forecast.step),
            start_up_prefill=parse_duration(spec.prefill.startup_time),
            start_up_decode=parse_duration(spec.decode.startup_time),
            interval=parse_duration(spec.scaling.interval),
            tolerance=spec.scaling.tolerance,
            scale_down_window=None if window is None else parse_duration(window),
            mode=_mode(spec.scaling.mode),
            flip=_flip(spec),
            behavior=Behavior(_pace(spec.scaling.behavior.scale_up), _pace(spec.scaling.behavior.scale_down)),
            spare=Targets(spec.prefill.spare_replicas, spec.decode.spare_replicas),
            reserved_gpus=spec.reserved_gpus,
            either_prefills=spec.router.placement == "CostBased" and not has_own_role(spec),
            schedules=tuple(map(_schedule, spec.scaling.schedules)),
            calibrate=spec.profile.calibration == "Enabled",
            engines=_engines(spec),
        )
    except ValueError as e:
        raise InvalidSpec(f"spec: {e}") from e


def _engines(spec: Spec) -> str:
    """What the pace of engines depends on, as far as the spec tells."""
    engine, pools = spec.engine, (spec.prefill, spec.decode)
    env = sorted((e.name, e.value) for e in engine.env)
    return repr((engine.image, engine.command, engine.args, env, [p.gpus_per_replica for p in pools]))


def flips(spec: Spec) -> bool:
    """Whether replicas may change their role: asked for, and in pools of ours."""
    ours = spec.prefill.scale_target_ref is None and spec.decode.scale_target_ref is None
    return spec.scaling.role_flip == "Enabled" and ours


def has_own_role(spec: Spec) -> bool:
    """Whether the engine itself is either a prefill or a decode engine, and must be told to change."""
    return spec.engine.type == "SGLang"


def _flip(spec: Spec) -> Seconds | None:
    if not flips(spec):
        return None
    return FLIP_OF_ENGINE if has_own_role(spec) else FLIP


def builtin_profile(name: str) -> Profile:
    """The built-in profile of that name; an unknown name is answered with similar ones."""
    found = BUILTIN.get(name)
    if found is None:
        known = get_close_matches(name, BUILTIN, n=3, cutoff=0.5) or sorted(BUILTIN)
        raise InvalidSpec(f"spec.profile.name must be built in, such as {', '.join(known)}, got {name}")
    return found


def profile_from_text(text: str, *, where: str) -> Profile:
    """A profile from a ConfigMap, as JSON or YAML: see ``pdscale.perf.document``.

    ``where`` names the source in messages, such as ``ConfigMap chat-profile, key profile.json``.
    """
    try:
        return read_profile(_decoded(text))
    except yaml.YAMLError as e:
        raise InvalidSpec(f"{where} must be JSON or YAML: {' '.join(str(e).split())}") from e
    except ValueError as e:
        raise InvalidSpec(f"{where}: {e}") from e


def _decoded(text: str) -> object:
    """JSON first: YAML would read its 5e10 as a text."""
    try:
        return json.loads(text)
    except ValueError:
        return yaml.safe_load(text)


def _mode(mode: str) -> Mode:
    """Plans that somebody must approve are made as if they were applied at once."""
    return Mode.AUTO if mode == "Approve" else Mode(mode)


def _pace(rules: PaceRules) -> Rules:
    limits = (PacePolicy(Unit(p.type), p.value, float(p.period_seconds)) for p in rules.policies)
    return Rules(tuple(limits), Select(rules.select_policy))


def _schedule(schedule: schema.Schedule) -> Schedule:
    return Schedule(
        least=Targets(schedule.prefill_min_replicas, schedule.decode_min_replicas),
        start=time.fromisoformat(schedule.start),
        end=time.fromisoformat(schedule.end),
        zone=ZoneInfo(schedule.time_zone),
        days=frozenset(get_args(schema.Day).index(day) for day in schedule.days),
    )


def _bounds(pool: Pool) -> Bounds:
    return Bounds(least=pool.min_replicas, most=pool.max_replicas)


def _read(body: Mapping[str, Any], *, extra: Literal["ignore", "forbid"]) -> ServingDeployment:
    known = {field.alias or name for name, field in Metadata.model_fields.items()}
    metadata = {k: v for k, v in dict(body.get("metadata") or {}).items() if k in known}
    given = {k: v for k, v in body.items() if k != "status"} | {"metadata": metadata}
    try:
        return ServingDeployment.model_validate(given, extra=extra)
    except ValidationError as e:
        raise InvalidSpec("; ".join(map(_described, e.errors(include_url=False)))) from e


def _described(error: ErrorDetails) -> str:
    """One complaint in the words that the rest of the project uses."""
    path = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in error["loc"]).lstrip(".")
    context, given = error.get("ctx", {}), error["input"]
    match error["type"]:
        case "missing":
            return f"{path} is required"
        case "extra_forbidden":
            return f"{path} is not a known field"
        case "rule":
            return f"{path}: {error['msg']}" if path else error["msg"]
        case "bound":
            return f"{path} {error['msg']}"
        case "greater_than_equal":
            return f"{path} must be at least {context['ge']}, got {given}"
        case "greater_than":
            return f"{path} must be above {context['gt']}, got {given}"
        case "less_than_equal":
            return f"{path} must be at most {context['le']}, got {given}"
        case "less_than":
            return f"{path} must be below {context['lt']}, got {given}"
        case "literal_error":
            return f"{path} must be one of {context['expected']}, got {given!r}"
        case "string_pattern_mismatch":
            return f"{path} must match {context['pattern']}, got {given!r}"
        case _:
            return f"{path}: {error['msg']}, got {given!r}"

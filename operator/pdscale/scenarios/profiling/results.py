"""From points to a profile that says how well it fits, as a document, a table and JSON."""

import json
import random
import shlex
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from pdscale.perf.document import profile_document
from pdscale.perf.engine import Engine
from pdscale.perf.fitting import FitError
from pdscale.perf.profile import Profile
from pdscale.perf.refit import Errors, Fit, fit_profile, fit_transfer
from pdscale.scenarios.fields import InvalidScenario
from pdscale.scenarios.profiling.asked import Asked
from pdscale.scenarios.profiling.sweep import ENOUGH, Found
from pdscale.scenarios.tables import aligned

SCHEMA: Final = "pdscale.io/profile-run/v1"
_COLUMNS: Final = ("part", "points", "median", "P90", "unseen points", "median", "P90")
_PREFILLS: Final = (128, 1024, 8192)
_BATCHES: Final = (1, 16, 64)
_CONTEXT: Final = 2048  # tokens of a stream in the steps that are shown


@dataclass(frozen=True, slots=True)
class Result:
    """``transfer`` is absent where transfers were told, not timed."""

    asked: Asked
    found: Found
    profile: Profile
    fit: Fit
    transfer: FitError | None


def fitted(asked: Asked, found: Found) -> Result:
    """Refuses too few points by number."""
    if found.subject is None or not found.suffices:
        raise InvalidScenario(
            f"{len(found.prefill)} prefill and {len(found.decode)} decode points were measured {found.said}, "
            f"and a fit needs {ENOUGH} of each{_last_note(found)}"
        )
    described, transfer = found.subject.described, None
    if asked.prefill_url is not None:
        described, transfer = _with_timed_transfer(described, found)
    model = found.subject.dialect.model
    fit = fit_profile(found.points(f"pdscale profile of {model}"), described, rng=random.Random(asked.seed))
    source = (
        f"pdscale profile of {model} over its endpoint, {_reach(found)}; {_judged(fit.held_out, transfer)}"
    )
    return Result(asked, found, replace(fit.profile, source=source), fit, transfer)


def _with_timed_transfer(described: Engine, found: Found) -> tuple[Engine, FitError]:
    try:
        fixed, bandwidth, error = fit_transfer(found.transfers)
    except ValueError as wrong:
        raise InvalidScenario(f"--prefill-url: {wrong}; say --bandwidth instead") from wrong
    return replace(described, transfer_fixed=max(0.0, fixed), transfer_bandwidth=bandwidth), error


def _last_note(found: Found) -> str:
    return f"; {found.notes[-1]}" if found.notes else ""


def _reach(found: Found) -> str:
    """Beyond these the profile is a guess."""
    new, history = max(p.new for p in found.prefill), max(p.history for p in found.prefill)
    streams, context = max(p.batch for p in found.decode), max(p.context for p in found.decode)
    return (
        f"measured up to {new:.0f} new tokens, {history:.0f} cached ones, {streams:.0f} streams of "
        f"{context:.0f} tokens together"
    )


def _judged(held_out: Errors, transfer: FitError | None) -> str:
    parts = [
        f"{kind} {error.median:.1%} / {error.p90:.1%}"
        for kind, error in (("prefill", held_out.prefill), ("decode", held_out.decode))
        if error is not None
    ]
    told = "transfers as told" if transfer is None else f"transfers timed, {transfer.median:.1%}"
    return f"median / P90 error on points the fit had not seen: {', '.join(parts)}; {told}"


def document(result: Result) -> str:
    """What ``--profile FILE`` and a ConfigMap hold."""
    return json.dumps(profile_document(result.profile), indent=2, allow_nan=False) + "\n"


def as_text(result: Result) -> str:
    """Errors per part, a few times to look at, and what to do with the file."""
    fit = result.fit
    rows = [
        _cells("prefill", fit.errors.prefill, fit.held_out.prefill),
        _cells("decode", fit.errors.decode, fit.held_out.decode),
        _cells("transfer", result.transfer, None),
    ]
    return (
        f"{aligned([_COLUMNS, *rows], left=1)}\n{_times(result.profile, result.found)}\n{next_steps(result)}"
    )


def _cells(part: str, error: FitError | None, unseen: FitError | None) -> list[str]:
    seen = ["told", "-", "-"] if error is None else _figures(error)
    return [part, *seen, *(["-"] * 3 if unseen is None else _figures(unseen))]


def _figures(error: FitError) -> list[str]:
    return [str(error.points), f"{error.median:.1%}", f"{error.p90:.1%}"]


def _times(profile: Profile, found: Found) -> str:
    """A few of those that lie within what was measured."""
    longest, most = max(p.new for p in found.prefill), max(p.batch for p in found.decode)
    prefills = {f"prefill of {n} tokens": profile.prefill_seconds(n) for n in _PREFILLS if n <= longest}
    steps = {
        f"step of {n} streams of {_CONTEXT} tokens": profile.step_seconds(n, n * _CONTEXT)
        for n in _BATCHES
        if n <= most
    }
    rows = [[what, f"{seconds * 1e3:.1f} ms"] for what, seconds in {**prefills, **steps}.items()]
    rows += [
        ["KV memory", f"{profile.kv_capacity:.0f} tokens"],
        ["transfers", f"{profile.transfer_bandwidth / 1e9:.3g} GB/s"],
    ]
    return aligned(rows, left=1)


def next_steps(result: Result) -> str:
    """Commands as they are typed."""
    file = shlex.quote(str(result.asked.out))
    name = f"{_object_name(result.profile.name)}-profile"
    return (
        f"try it:  pdscale simulate --workload bursty --rate 1 --prefill 1 --decode 1 --profile {file}\n"
        f"use it:  kubectl create configmap {name} --from-file=profile.json={file}\n"
        f"         and in the ServingDeployment: spec.profile: {{configMap: {{name: {name}}}}}\n"
    )


def _object_name(name: str) -> str:
    """As Kubernetes allows names."""
    letters = "".join(c if c.isascii() and (c.isalnum() or c in "-.") else "-" for c in name.lower())
    return letters.strip("-.") or "engine"


def as_json(result: Result) -> str:
    found = result.found
    body: dict[str, Any] = {
        "schema": SCHEMA,
        "file": str(result.asked.out),
        "profile": profile_document(result.profile),
        "errors": _errors(result.fit.errors) | {"transfer": _error(result.transfer)},
        "held_out": _errors(result.fit.held_out),
        "prefill": [{"new": p.new, "history": p.history, "seconds": p.seconds} for p in found.prefill],
        "decode": [asdict(p) for p in found.decode],
        "transfers": [asdict(p) for p in found.transfers],
        "notes": found.notes,
    }
    return json.dumps(body, indent=2, allow_nan=False) + "\n"


def _errors(errors: Errors) -> dict[str, Any]:
    return {"prefill": _error(errors.prefill), "decode": _error(errors.decode)}


def _error(error: FitError | None) -> dict[str, Any] | None:
    return None if error is None else asdict(error)

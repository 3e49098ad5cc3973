"""The rules of v1alpha1 about replicas beyond the need: schedules and reserved GPUs.

As in ``rules``, each stands as CEL and as a check with the same message. Whether a time zone exists, CEL
cannot say: the operator's condition does.
"""

import zoneinfo
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Final, Protocol

from pdscale.api.fields import Rule


class _Schedule(Protocol):
    time_zone: str
    prefill_min_replicas: int
    decode_min_replicas: int


class _Scaling(Protocol):
    @property
    def schedules(self) -> Sequence[_Schedule]: ...


class _Pool(Protocol):
    min_replicas: int
    max_replicas: int
    gpus_per_replica: int


class _Spec(Protocol):
    prefill: _Pool
    decode: _Pool
    gpu_budget: int
    reserved_gpus: int
    scaling: _Scaling


def _zone_is_known(s: _Schedule) -> str | None:
    try:
        zoneinfo.ZoneInfo(s.time_zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        similar = get_close_matches(s.time_zone, zoneinfo.available_timezones(), n=3)
        such = f", such as {', '.join(similar)}" if similar else ", such as Europe/Berlin"
        return f"timeZone must be a name of the IANA database{such}, got {s.time_zone}"
    return None


TIME_ZONE_IS_KNOWN: Final = Rule(cel=None, says=None, check=_zone_is_known, field="timeZone")


def _reserved_fits(s: _Spec) -> str | None:
    if s.reserved_gpus <= s.gpu_budget:
        return None
    return f"reservedGpus must be at most gpuBudget ({s.gpu_budget}), got {s.reserved_gpus}"


RESERVED_FITS_BUDGET: Final = Rule(
    cel="self.reservedGpus <= self.gpuBudget",
    says="'reservedGpus must be at most gpuBudget (%d), got %d'.format([self.gpuBudget, self.reservedGpus])",
    check=_reserved_fits,
    field="reservedGpus",
)


def _within_bounds(s: _Spec) -> str | None:
    p, d = s.prefill.max_replicas, s.decode.max_replicas
    for asked in s.scaling.schedules:
        if asked.prefill_min_replicas > p or asked.decode_min_replicas > d:
            return (
                f"scaling.schedules must ask for at most prefill.maxReplicas ({p}) and decode.maxReplicas "
                f"({d}), got {asked.prefill_min_replicas} and {asked.decode_min_replicas}"
            )
    return None


_BEYOND: Final = (
    "self.scaling.schedules.filter(s, s.prefillMinReplicas > self.prefill.maxReplicas"
    " || s.decodeMinReplicas > self.decode.maxReplicas)"
)
SCHEDULES_FIT_BOUNDS: Final = Rule(
    cel=f"!has(self.scaling.schedules) || {_BEYOND}.size() == 0",
    says="'scaling.schedules must ask for at most prefill.maxReplicas (%d) and decode.maxReplicas (%d), "
    "got %d and %d'.format([self.prefill.maxReplicas, self.decode.maxReplicas, "
    f"{_BEYOND}[0].prefillMinReplicas, {_BEYOND}[0].decodeMinReplicas])",
    check=_within_bounds,
    field="scaling.schedules",
)


def _within_budget(s: _Spec) -> str | None:
    for asked in s.scaling.schedules:
        held = sum(
            max(least, pool.min_replicas) * pool.gpus_per_replica
            for least, pool in (
                (asked.prefill_min_replicas, s.prefill),
                (asked.decode_min_replicas, s.decode),
            )
        )
        if held > s.gpu_budget:
            return (
                f"scaling.schedules must fit in gpuBudget ({s.gpu_budget}), got "
                f"{asked.prefill_min_replicas} prefill and {asked.decode_min_replicas} decode replicas"
            )
    return None


_HELD: Final = " + ".join(
    f"(s.{role}MinReplicas > self.{role}.minReplicas ? s.{role}MinReplicas : self.{role}.minReplicas)"
    f" * self.{role}.gpusPerReplica"
    for role in ("prefill", "decode")
)
_TOO_MANY: Final = f"self.scaling.schedules.filter(s, {_HELD} > self.gpuBudget)"
SCHEDULES_FIT_BUDGET: Final = Rule(
    cel=f"!has(self.scaling.schedules) || {_TOO_MANY}.size() == 0",
    says="'scaling.schedules must fit in gpuBudget (%d), got %d prefill and %d decode replicas'.format(["
    f"self.gpuBudget, {_TOO_MANY}[0].prefillMinReplicas, {_TOO_MANY}[0].decodeMinReplicas])",
    check=_within_budget,
    field="scaling.schedules",
)

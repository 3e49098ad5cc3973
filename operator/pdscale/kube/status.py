"""Conditions and status patches, as pure functions over what is stored and what should be.

A condition's transition time moves only when its status does. A patch carries only what differs, and the
conditions as a whole list, because a merge patch replaces lists. Nothing differs: no patch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pdscale.model.units import Seconds

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Condition:
    """One aspect of an object's state. ``holds`` is absent where nothing can be said."""

    type: str
    holds: bool | None
    reason: str
    message: str = ""

    def __post_init__(self) -> None:
        if not (self.reason.isalnum() and self.reason[:1].isupper()):
            raise ValueError(f"condition {self.type}: reason must be CamelCase, got {self.reason!r}")

    @property
    def status(self) -> str:
        return "Unknown" if self.holds is None else str(self.holds)


def merged(
    stored: Sequence[Mapping[str, Any]], now: Sequence[Condition], *, generation: int, at: Seconds
) -> list[Json]:
    """The new list: known types keep their place and time, types that nobody reports any more go."""
    before = {c.get("type"): c for c in stored}
    found = []
    for condition in now:
        old = before.get(condition.type, {})
        same = old.get("status") == condition.status and old.get("lastTransitionTime")
        found.append(
            {
                "type": condition.type,
                "status": condition.status,
                "reason": condition.reason,
                "message": condition.message,
                "observedGeneration": generation,
                "lastTransitionTime": old["lastTransitionTime"] if same else timestamp(at),
            }
        )
    return found


def difference(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> Json:
    """Merge patch from one to the other, empty if they agree. A key that is gone becomes null."""
    patch: Json = {key: None for key in stored if key not in wanted}
    for key, value in wanted.items():
        old = stored.get(key)
        if isinstance(value, Mapping) and isinstance(old, Mapping):
            inner = difference(old, value)
            if inner:
                patch[key] = inner
        elif value != old:
            patch[key] = value
    return patch


def timestamp(at: Seconds) -> str:
    """RFC 3339 with whole seconds, as Kubernetes writes times."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

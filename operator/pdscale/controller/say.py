"""What people say to the operator by annotations of an object: hold still, go ahead, take the replicas.

The three ``paused`` ones are KEDA's own names, because people and their tools know them. Values other than a
plain false count as said: ``kubectl annotate ... paused=`` is how it is mostly written.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pdscale.api.v1alpha1 import GROUP
from pdscale.model.pools import Role, Targets

APPROVE: Final = f"{GROUP}/approve"
TAKE: Final = f"{GROUP}/take-replicas"
PAUSED: Final = "autoscaling.keda.sh/paused"
PAUSED_REPLICAS: Final = "autoscaling.keda.sh/paused-replicas"
PAUSED_IN: Final = "autoscaling.keda.sh/paused-scale-in"
PAUSED_OUT: Final = "autoscaling.keda.sh/paused-scale-out"
_NO: Final = ("false", "False", "no", "0")


@dataclass(frozen=True, slots=True)
class Say:
    """The annotations that concern replicas. ``pauses`` names those of KEDA's that are set."""

    approved: str = ""
    take: str = ""
    pauses: tuple[str, ...] = ()

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> "Say":
        said = body["metadata"].get("annotations") or {}
        switches = [name for name in (PAUSED, PAUSED_IN, PAUSED_OUT) if said.get(name, "no") not in _NO]
        if PAUSED_REPLICAS in said:  # of a count, zero is a value like any other
            switches.append(PAUSED_REPLICAS)
        return cls(said.get(APPROVE, ""), said.get(TAKE, ""), tuple(switches))

    @property
    def holds_all(self) -> bool:
        return PAUSED in self.pauses or PAUSED_REPLICAS in self.pauses

    def permits(self, wanted: Targets | None, current: Targets) -> Targets | None:
        """What may be written of what is wanted; None is nothing at all."""
        if wanted is None or self.holds_all:
            return None
        least = current if PAUSED_IN in self.pauses else Targets(0, 0)
        allowed = {role: max(wanted.of(role), least.of(role)) for role in Role}
        if PAUSED_OUT in self.pauses:
            allowed = {role: min(count, current.of(role)) for role, count in allowed.items()}
        return Targets(allowed[Role.PREFILL], allowed[Role.DECODE])

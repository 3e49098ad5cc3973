"""A plan is the targets plus the trail of verdicts that led to them."""

from dataclasses import dataclass, replace
from enum import StrEnum

from pdscale.model.pools import Targets


class Reason(StrEnum):
    """Why a stage changed the targets, or refused to. They end up as condition reasons."""

    FORECAST_DEMAND = "ForecastDemand"
    REACTIVE_DEMAND = "ReactiveDemand"
    CALIBRATED = "Calibrated"
    NO_METRICS = "NoMetrics"
    NO_TRAFFIC_YET = "NoTrafficYet"
    BOUNDED = "Bounded"
    BUDGETED = "Budgeted"
    WITHIN_TOLERANCE = "WithinTolerance"
    SCALE_DOWN_HELD = "ScaleDownHeld"
    SCHEDULED = "Scheduled"
    SPARE = "Spare"
    RESERVED = "Reserved"
    PACED = "Paced"
    SHRINK_BEFORE_GROW = "ShrinkBeforeGrow"
    PAUSED = "Paused"
    RECOMMEND_ONLY = "RecommendOnly"
    SLO_UNATTAINABLE = "SLOUnattainable"


@dataclass(frozen=True, slots=True)
class Step:
    """One stage's verdict. ``note`` carries the figures a person wants to see beside it."""

    reason: Reason
    targets: Targets
    note: str = ""

    def __str__(self) -> str:
        note = f" ({self.note})" if self.note else ""
        return f"{self.reason} {self.targets}{note}"


@dataclass(frozen=True, slots=True)
class Plan:
    """Targets plus every step taken to reach them, first to last."""

    targets: Targets
    steps: tuple[Step, ...] = ()

    def then(self, reason: Reason, targets: Targets, note: str = "") -> "Plan":
        """Record a stage's verdict; a stage that changes nothing leaves no step."""
        if targets == self.targets:
            return self
        return replace(self, targets=targets, steps=(*self.steps, Step(reason, targets, note)))

    def noting(self, reason: Reason, note: str) -> "Plan":
        """Record something that a reader of the trail must know though the targets stay."""
        return replace(self, steps=(*self.steps, Step(reason, self.targets, note)))

    @property
    def trail(self) -> str:
        return " -> ".join(str(step) for step in self.steps)

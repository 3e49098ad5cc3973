"""What the user asked for, as far as scaling is concerned: parsed, defaulted and judged once."""

from dataclasses import dataclass, field
from enum import StrEnum

from pdscale.model.pools import Bounds, GpusPerReplica, Role, Targets
from pdscale.model.slo import SLO
from pdscale.model.units import Seconds
from pdscale.perf.profile import Profile
from pdscale.scaling.pace import Behavior
from pdscale.scaling.schedule import Schedule


class Mode(StrEnum):
    """What becomes of a plan: applied, only shown, or not even made."""

    AUTO = "Auto"
    RECOMMEND = "Recommend"
    PAUSED = "Paused"


@dataclass(frozen=True, slots=True)
class Policy:
    """Scaling settings of one ServingDeployment.

    ``start_up_*`` is the time from a pod's creation to readiness: with ``interval`` it is the lead time
    that a forecast must cover. ``history`` and ``step`` say which past the forecast sees.

    ``scale_down_window`` absent: a replica that is not needed is kept as long as taking it away would cost,
    its role's start-up and drain, and once more what of the start-up no trend foresees. ``drain_*`` are
    measured drains; absent, they follow from the history. ``flip`` is what a change of role takes after a
    drain, where the engine allows one. ``behavior`` bounds how fast either pool grows and shrinks, within
    what bounds and budget demand at once.

    ``spare`` replicas are kept beyond the need, ``reserved_gpus`` are all used whatever the need, and
    ``schedules`` raise the minimums at their hours. ``either_prefills``: the router sends a prefill to
    whichever side has time for it (`CostBased`), so a split's prefill replicas are not all that prefill.

    ``calibrate``: the profile is corrected by the pace of engines; ``engines`` tells those of one build and
    setting from others, of which what was learned does not hold.
    """

    slo: SLO
    prefill: Bounds
    decode: Bounds
    gpus: GpusPerReplica
    gpu_budget: int
    profile: Profile
    forecast_model: str = "Auto"
    quantile: float = 0.9
    history: Seconds = 1800.0
    step: Seconds = 15.0
    start_up_prefill: Seconds = 60.0
    start_up_decode: Seconds = 60.0
    interval: Seconds = 15.0
    tolerance: float = 0.1
    scale_down_window: Seconds | None = None
    mode: Mode = Mode.AUTO
    flip: Seconds | None = None
    drain_prefill: Seconds | None = None
    drain_decode: Seconds | None = None
    behavior: Behavior = field(default_factory=Behavior)
    spare: Targets = field(default_factory=lambda: Targets(0, 0))
    reserved_gpus: int = 0
    either_prefills: bool = True
    schedules: tuple[Schedule, ...] = ()
    calibrate: bool = True
    engines: str = ""

    def __post_init__(self) -> None:
        least = self.gpus.held_by(Targets(self.prefill.least, self.decode.least))
        if self.gpu_budget < least:
            raise ValueError(
                f"gpuBudget must be at least {least} GPUs for {self.prefill.least} prefill and "
                f"{self.decode.least} decode replicas, got {self.gpu_budget}"
            )
        if not 0 <= self.reserved_gpus <= self.gpu_budget:
            raise ValueError(
                f"reservedGpus must be in 0..gpuBudget ({self.gpu_budget}), got {self.reserved_gpus}"
            )
        if not 0.5 <= self.quantile < 1:
            raise ValueError(f"forecast.quantile must be in 0.5..1, got {self.quantile}")
        for name in ("history", "step", "interval"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0s, got {getattr(self, name)}s")
        never_negative = ("start_up_prefill", "start_up_decode", "scale_down_window", "tolerance", "flip")
        for name in (*never_negative, "drain_prefill", "drain_decode"):
            if (getattr(self, name) or 0.0) < 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")

    def bounds(self, role: Role) -> Bounds:
        return self.prefill if role is Role.PREFILL else self.decode

    def allows(self, targets: Targets) -> bool:
        """Whether a pair is within bounds and budget."""
        inside = all(targets.of(r) == self.bounds(r).clamp(targets.of(r)) for r in Role)
        return inside and self.gpus.held_by(targets) <= self.gpu_budget

    @property
    def flips(self) -> bool:
        """Whether a change of role is possible and beats a start-up."""
        quicker = self.flip is not None and self.flip < min(self.start_up_prefill, self.start_up_decode)
        return quicker and self.gpus.prefill == self.gpus.decode

    @property
    def lead_time(self) -> Seconds:
        """How far ahead a decision made now takes effect: the slower start-up plus one interval."""
        return max(self.start_up_prefill, self.start_up_decode) + self.interval

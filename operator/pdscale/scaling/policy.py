"""What the user asked for, as far as scaling is concerned: parsed, defaulted and judged once."""

from dataclasses import dataclass
from enum import StrEnum

from pdscale.model.pools import Bounds, GpusPerReplica, Role, Targets
from pdscale.model.slo import SLO
from pdscale.model.units import Seconds
from pdscale.perf.profile import Profile


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
    scale_down_window: Seconds = 300.0
    mode: Mode = Mode.AUTO

    def __post_init__(self) -> None:
        least = self.gpus.held_by(Targets(self.prefill.least, self.decode.least))
        if self.gpu_budget < least:
            raise ValueError(
                f"gpuBudget must be at least {least} GPUs for {self.prefill.least} prefill and "
                f"{self.decode.least} decode replicas, got {self.gpu_budget}"
            )
        if not 0.5 <= self.quantile < 1:
            raise ValueError(f"forecast.quantile must be in 0.5..1, got {self.quantile}")
        for name in ("history", "step", "interval"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0s, got {getattr(self, name)}s")
        for name in ("start_up_prefill", "start_up_decode", "scale_down_window", "tolerance"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")

    def bounds(self, role: Role) -> Bounds:
        return self.prefill if role is Role.PREFILL else self.decode

    @property
    def lead_time(self) -> Seconds:
        """How far ahead a decision made now takes effect: the slower start-up plus one interval."""
        return max(self.start_up_prefill, self.start_up_decode) + self.interval

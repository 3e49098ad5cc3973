"""What the user was promised, and whether a request got it."""

from dataclasses import dataclass

from pdscale.model.units import Seconds


@dataclass(frozen=True, slots=True)
class SLO:
    """Limits on TTFT and on mean time per output token, for a share of all requests."""

    ttft: Seconds
    tpot: Seconds
    attainment: float = 0.95

    def __post_init__(self) -> None:
        if self.ttft <= 0:
            raise ValueError(f"slo.ttft must be above 0s, got {self.ttft}s")
        if self.tpot <= 0:
            raise ValueError(f"slo.tpot must be above 0s, got {self.tpot}s")
        if not 0 < self.attainment < 1:
            raise ValueError(f"slo.attainment must be between 0 and 1, got {self.attainment}")

    def met_by(self, *, ttft: Seconds, tpot: Seconds) -> bool:
        return ttft <= self.ttft and tpot <= self.tpot

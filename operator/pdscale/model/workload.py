"""Traffic of one ServingDeployment over a window. "No data" is a value of its own, never zero."""

import math
from dataclasses import dataclass

from pdscale.model.units import Tokens


@dataclass(frozen=True, slots=True)
class NoData:
    """Nothing can be said about a figure; ``reason`` says why, and whose fault it is."""

    reason: str


@dataclass(frozen=True, slots=True)
class Workload:
    """Request rate (rounds/s) and moments of the lengths (tokens per round).

    ``uncached_tokens`` are the prompt tokens that no prefix cache held: the prefill work.
    ``context_tokens`` is the whole prompt, history included: what decode has to keep resident.
    Second moments are raw, E[x^2]; ``local_share`` is the share of uncached prompt tokens that
    decode replicas computed themselves.
    """

    request_rate: float
    context_tokens: Tokens
    uncached_tokens: Tokens
    uncached_tokens_squared: float
    output_tokens: Tokens
    output_tokens_squared: float
    local_share: float = 0.0

    def __post_init__(self) -> None:
        for name in (
            "request_rate",
            "context_tokens",
            "uncached_tokens",
            "uncached_tokens_squared",
            "output_tokens",
            "output_tokens_squared",
        ):
            figure = getattr(self, name)
            if not math.isfinite(figure) or figure < 0:
                raise ValueError(f"workload.{name} must be finite and at least 0, got {figure}")
        if not 0 <= self.local_share <= 1:
            raise ValueError(f"workload.local_share must be in 0..1, got {self.local_share}")

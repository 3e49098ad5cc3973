"""Random factors for pass times: what the same pass takes differs from one time to the next.

Lognormal with mean 1, so that noise moves neither throughput nor utilisation by itself. A run of k steps
that a simulator takes at once gets one factor: the mean of k independent ones has variance cv^2 / k, and is
drawn as a lognormal of just that mean and variance (exact in both, an approximation in shape). Thus the
same seed gives different numbers for one jump and for its steps, but not a different distribution of the
time it takes.
"""

import math
import random
from dataclasses import dataclass


@dataclass(slots=True)
class Noise:
    """Factors of coefficient of variation ``cv``; ``cv`` 0 is no noise and draws nothing."""

    cv: float
    rng: random.Random

    def __post_init__(self) -> None:
        if not 0 <= self.cv < math.inf:
            raise ValueError(f"noise.cv must be at least 0 and finite, got {self.cv}")

    def factor(self, steps: int = 1) -> float:
        """Factor of the time of ``steps`` passes together."""
        if self.cv == 0:
            return 1.0
        if steps < 1:
            raise ValueError(f"noise needs at least 1 step, got {steps}")
        variance = math.log1p(self.cv * self.cv / steps)
        return self.rng.lognormvariate(-variance / 2, math.sqrt(variance))

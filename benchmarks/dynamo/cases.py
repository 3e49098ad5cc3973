"""Cases A, B and C: a sine on fast and on slow mock engines, and bursts of code completions.

Engines are the simulator's own mock with its default timing, a polynomial in the tokens of a prefill pass
and in the share of KV memory in use, divided by ``speed``. 6144 blocks of 64 tokens make decode matter: at
the simulator's default of 16384 one decode replica would do in all three cases.

A recorded code trace of Azure is what the study of peers used in C. It is a file of others; a path to one may
be given. Bursts drawn from its published figures stand in for it: means of 2048 and 28 tokens, 2.57/s, gaps
of coefficient of variation 3.
"""

import json
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pdscale.model.pools import Bounds, GpusPerReplica, Role, Targets
from pdscale.model.slo import SLO
from pdscale.model.units import Seconds, Tokens
from pdscale.scaling.rivals.sighting import Limits
from pdscale.workload.arrivals import LengthLaw
from pdscale.workload.generators import CODE, Phase, Task, bursty, phased
from pdscale.workload.load import load_trace
from pdscale.workload.trace import Trace

BLOCK: Final = 64
BLOCKS: Final = 6144
START_UP: Final[Seconds] = 60.0
SINE: Final = Task("sine", LengthLaw(3000, 0.2), LengthLaw(150, 0.5))
_SWING: Final = 0.5  # of the mean rate
_PERIOD: Final[Seconds] = 600.0
_STEP: Final[Seconds] = 5.0
PAST: Final[Seconds] = 1800.0


@dataclass(frozen=True, slots=True)
class Case:
    """``begin`` is the fleet that everyone begins with: what the first minute needs. ``path`` of a trace
    takes the place of the drawn one. ``task`` is what its requests are like, for a benchmark of engines."""

    name: str
    what: str
    slo: SLO
    speed: float
    begin: Targets
    most: int
    task: Task
    seconds: Seconds
    rate: float
    path: Path | None = None

    @property
    def limits(self) -> Limits:
        bounds = Bounds(1, self.most)
        return Limits(bounds, bounds, GpusPerReplica(1, 1), 2 * self.most)

    @property
    def kv_capacity(self) -> Tokens:
        return float(BLOCKS * BLOCK)

    def engine(self, role: Role) -> dict[str, Any]:
        """Arguments of the simulator's mock."""
        return {
            "engine_type": "vllm",
            "worker_type": str(role),
            "startup_time": START_UP,
            "speedup_ratio": self.speed,
            "num_gpu_blocks": BLOCKS,
            "block_size": BLOCK,
        }

    def trace(self, seed: int) -> Trace:
        if self.path is not None:
            return load_trace(self.path)
        return self._drawn(self.seconds, random.Random(f"dynamo {self.name} {seed}"))

    def past(self, seed: int) -> Trace:
        """Half an hour of the same kind that ends where ``trace`` begins, of a seed of its own."""
        return self._drawn(PAST, random.Random(f"past of {self.name} {seed}"))

    def _drawn(self, seconds: Seconds, rng: random.Random) -> Trace:
        if self.task is CODE:
            return bursty(seconds=seconds, steady_rate=0.0, burst_rate=self.rate, rng=rng)
        steps = round(seconds / _STEP)
        swing = (1 - _SWING * math.cos(2 * math.pi * (k + 0.5) * _STEP / _PERIOD) for k in range(steps))
        return phased([Phase(_STEP, self.rate * s, self.task) for s in swing], rng=rng)

    def lines(self, trace: Trace) -> Iterator[str]:
        """Of a file as the simulator reads it (Mooncake's format). No prompt shares a block with another."""
        block = 0
        for at, prompt, output in zip(trace.at, trace.prompt, trace.output, strict=True):
            count = math.ceil(prompt / BLOCK)
            row = {
                "timestamp": round(at * 1e3),
                "input_length": prompt,
                "output_length": output,
                "hash_ids": list(range(block, block + count)),
            }
            block += count
            yield json.dumps(row)


def cases(path: Path | None = None) -> tuple[Case, ...]:
    """``path`` of a trace for C, in a form that docs/simulator.md names."""
    bursts = "bursts of code completions, drawn" if path is None else f"{path.name}, as recorded"
    fast, slow = SLO(2.0, 0.080, 0.99), SLO(5.0, 0.150, 0.99)
    return (
        Case("A", "sine, 20 minutes", fast, 0.3, Targets(1, 1), 8, SINE, 1200.0, 3.89),
        Case("B", "the same, slower engines", slow, 0.1, Targets(3, 3), 12, SINE, 1200.0, 3.89),
        Case("C", bursts, fast, 0.3, Targets(2, 1), 8, CODE, 3440.0, 2.57, path),
    )

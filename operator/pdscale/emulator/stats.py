"""Counters and histograms of one engine as plain numbers.

They are touched once per iteration or per request, never per token and request: all sequences that
advance together share one inter-token interval, which is observed once with its count. The text form
is made only when somebody asks for it.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from typing import Final

LATENCY: Final = (
    *(0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0),
    *(120.0, 240.0, 480.0, 960.0, 1920.0, 7680.0),
)
FIRST_TOKEN: Final = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0),
)
PER_TOKEN: Final = (
    *(0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0),
)
ITERATION: Final = tuple(float(2**i) for i in (0, *range(3, 15)))
TRANSFER: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 5.0)
POSTING: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 5.0)
BYTES: Final = tuple(float(2**i) for i in range(11, 35, 2))
DESCRIPTORS: Final = (
    *(10.0, 20.0, 30.0, 50.0, 75.0, 100.0, 200.0, 400.0, 1000.0, 2000.0, 4000.0),
    *(10_000.0, 20_000.0, 50_000.0),
)


def lengths(longest: int) -> tuple[float, ...]:
    """1, 2, 5, 10, 20, 50 and so on, up to ``longest``: lengths(30) -> 1, 2, 5, 10, 20."""
    steps = (m * 10.0**e for e in range(12) for m in (1, 2, 5))
    return tuple(step for step in steps if step <= longest)


class Histogram:
    """Observations by bucket; the last bucket has no upper bound."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.total = 0.0

    def observe(self, figure: float, times: int = 1) -> None:
        self.counts[bisect_left(self.bounds, figure)] += times
        self.total += figure * times

    @property
    def count(self) -> int:
        return sum(self.counts)


class EngineStats:
    """Everything that an engine counts since its start. Prompts and answers are at most ``longest``."""

    def __init__(self, longest: int) -> None:
        self.prompt_tokens: Counter[str] = Counter()
        self.cached_tokens = 0
        self.generation_tokens = 0
        self.finished: Counter[str] = Counter()
        self.preemptions = 0
        self.prefix_queries = 0
        self.prefix_hits = 0
        self.external_queries = 0
        self.external_hits = 0
        self.failed_transfers = 0
        self.failed_notifications = 0
        self.expired_leases = 0
        self.late_notifications = 0
        self.time_to_first_token = Histogram(FIRST_TOKEN)
        self.inter_token_latency = Histogram(PER_TOKEN)
        self.time_per_output_token = Histogram(PER_TOKEN)
        self.end_to_end = Histogram(LATENCY)
        self.queue_time = Histogram(LATENCY)
        self.prefill_time = Histogram(LATENCY)
        self.decode_time = Histogram(LATENCY)
        self.inference_time = Histogram(LATENCY)
        self.iteration_tokens = Histogram(ITERATION)
        self.transfer_time = Histogram(TRANSFER)
        self.posting_time = Histogram(POSTING)
        self.transfer_bytes = Histogram(BYTES)
        self.transfer_descriptors = Histogram(DESCRIPTORS)
        self.request_prompt_tokens = Histogram(lengths(longest))
        self.request_generation_tokens = Histogram(lengths(longest))
        self.request_max_tokens = Histogram(lengths(longest))
        self.request_computed_tokens = Histogram(lengths(longest))
        self.request_preemptions = Histogram((0.0, 1.0, 2.0, 5.0, 10.0))

    def transferred(self, seconds: float, *, size: float, blocks: int) -> None:
        """KV came in from another engine. Posting it takes no time here."""
        self.transfer_time.observe(seconds)
        self.posting_time.observe(0.0)
        self.transfer_bytes.observe(size)
        self.transfer_descriptors.observe(blocks)

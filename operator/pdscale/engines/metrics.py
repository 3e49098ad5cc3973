"""Engine figures from the Prometheus text exposition. Pure; only the few lines that matter are looked at.

Which engine it is, is told by the names. Several series of one name (one per data-parallel rank) add up; KV
usage is their mean. A missing or NaN gauge is no data for the whole reading: a load made of guesses is worse
than an old one.

SGLang counts a request that waits for its other leg in a queue of its own, which exists on instances in P/D
mode only; such queues are waiting requests where they exist.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from pdscale.model.cluster import Load
from pdscale.model.units import Seconds
from pdscale.model.workload import NoData


@dataclass(frozen=True, slots=True)
class _Names:
    running: str
    waiting: str
    kv_usage: str
    also_waiting: tuple[str, ...] = ()

    @property
    def needed(self) -> tuple[str, ...]:
        return self.running, self.waiting, self.kv_usage


_ENGINES: Final = {
    "vllm:": _Names(
        running="vllm:num_requests_running",
        waiting="vllm:num_requests_waiting",
        kv_usage="vllm:kv_cache_usage_perc",
    ),
    "sglang:": _Names(
        running="sglang:num_running_reqs",
        waiting="sglang:num_queue_reqs",
        kv_usage="sglang:token_usage",
        also_waiting=(
            "sglang:num_prefill_bootstrap_queue_reqs",
            "sglang:num_decode_prealloc_queue_reqs",
            "sglang:num_decode_transfer_queue_reqs",
        ),
    ),
}


def parse_load(text: str, *, now: Seconds) -> Load | NoData:
    """What an engine says of itself."""
    found = {prefix: _figures(text, prefix, names) for prefix, names in _ENGINES.items()}
    prefix, figures = max(found.items(), key=lambda item: sum(map(bool, item[1].values())))
    names = _ENGINES[prefix]
    for name in names.needed:
        if not figures[name]:
            return NoData(f"the engine exports no {name}")
    for name, values in figures.items():
        if not all(math.isfinite(v) and v >= 0 for v in values):
            return NoData(f"{name} must be finite and at least 0, got {values}")
    kv = figures[names.kv_usage]
    return Load(
        running=int(sum(figures[names.running])),
        waiting=int(sum(sum(figures[name]) for name in (names.waiting, *names.also_waiting))),
        kv_usage=min(1.0, sum(kv) / len(kv)),
        seen_at=now,
    )


def _figures(text: str, prefix: str, names: _Names) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {name: [] for name in (*names.needed, *names.also_waiting)}
    for line in _lines(text, prefix):
        name, value = _sample(line)
        if name in found:
            found[name].append(value)
    return found


def _lines(text: str, prefix: str) -> Iterator[str]:
    """With priorities SGLang says everything twice: in all, and by priority."""
    for line in text.splitlines():
        if line.startswith(prefix) and ('priority="' not in line or 'priority=""' in line):
            yield line


def _sample(line: str) -> tuple[str, float]:
    """``name{labels} value [timestamp]`` -> name and value; NaN for what cannot be read."""
    brace = line.find("{")
    if brace >= 0:
        name, rest = line[:brace], line[line.rfind("}") + 1 :].split()
    else:
        name, *rest = line.split()
    try:
        return name, float(rest[0])
    except (IndexError, ValueError):
        return name, math.nan

"""Engine figures from the Prometheus text exposition. Pure; only the few lines that matter are looked at.

Several series of one name (one per data-parallel rank) add up; KV usage is their mean. A missing or
NaN gauge is no data for the whole reading: a load made of guesses is worse than an old one.
"""

import math
from typing import Final

from pdscale.model.cluster import Load
from pdscale.model.units import Seconds
from pdscale.model.workload import NoData

_RUNNING: Final = "vllm:num_requests_running"
_WAITING: Final = "vllm:num_requests_waiting"
_KV_USAGE: Final = "vllm:kv_cache_usage_perc"
_WANTED: Final = (_RUNNING, _WAITING, _KV_USAGE)


def parse_load(text: str, *, now: Seconds) -> Load | NoData:
    """What a vLLM engine says of itself."""
    found: dict[str, list[float]] = {name: [] for name in _WANTED}
    for line in text.splitlines():
        if line.startswith("vllm:"):
            name, value = _sample(line)
            if name in found:
                found[name].append(value)
    for name, values in found.items():
        if not values:
            return NoData(f"the engine exports no {name}")
        if not all(math.isfinite(v) and v >= 0 for v in values):
            return NoData(f"{name} must be finite and at least 0, got {values}")
    kv = found[_KV_USAGE]
    return Load(
        running=int(sum(found[_RUNNING])),
        waiting=int(sum(found[_WAITING])),
        kv_usage=min(1.0, sum(kv) / len(kv)),
        seen_at=now,
    )


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

"""What an engine says of itself: its model, its KV memory, and whether it is at work.

vLLM puts its cache's size into the labels of ``vllm:cache_config_info``, SGLang into a gauge. Several
series of a name (one per data-parallel rank) add up, as they do in ``engines.metrics``.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from pdscale.engines.metrics import parse_load
from pdscale.model.workload import NoData
from pdscale.scenarios.fields import InvalidScenario
from pdscale.scenarios.profiling.client import Engine

_LABEL: Final = re.compile(r'(\w+)="([^"]*)"')
_VLLM: Final = "vllm:cache_config_info{"
_SGLANG: Final = "sglang:max_total_num_tokens"


@dataclass(frozen=True, slots=True)
class Model:
    """``longest`` is in tokens, if the engine says it."""

    name: str
    longest: int | None


async def model_of(engine: Engine, wanted: str | None) -> Model:
    cards = {str(card.get("id")): card for card in await engine.models()}
    if wanted is None and len(cards) == 1:
        wanted = next(iter(cards))
    if wanted is None or wanted not in cards:
        raise InvalidScenario(
            f"--model: must be one of those that {engine.url} serves "
            f"({', '.join(sorted(cards)) or 'none'}), got {wanted}"
        )
    longest = cards[wanted].get("max_model_len")
    return Model(wanted, longest if isinstance(longest, int) and longest > 0 else None)


@dataclass(frozen=True, slots=True)
class Memory:
    """Tokens of KV, and bytes of each; absent where the engine says nothing."""

    tokens: int | None = None
    bytes_per_token: float | None = None


def memory_of(metrics: str) -> Memory:
    caches = [dict(_LABEL.findall(line)) for line in metrics.splitlines() if line.startswith(_VLLM)]
    tokens = sum(_tokens(labels) for labels in caches)
    size = sum(_whole(labels, "kv_cache_memory_bytes") for labels in caches)
    if tokens:
        return Memory(tokens, size / tokens if size else None)
    return Memory(int(sum(_values(metrics, _SGLANG))) or None)


def _tokens(labels: Mapping[str, str]) -> int:
    """vLLM's own figure where it has one: blocks of a hybrid model are not all of one size."""
    own = _whole(labels, "kv_cache_size_tokens")
    return own or _whole(labels, "num_gpu_blocks") * _whole(labels, "block_size")


def _whole(labels: Mapping[str, str], name: str) -> int:
    """0 for what is missing or, as Python objects write it, ``None``."""
    value = labels.get(name, "")
    return int(value) if value.isdecimal() else 0


def _values(metrics: str, name: str) -> Iterator[float]:
    for line in metrics.splitlines():
        if re.match(rf"{name}[ {{]", line):
            yield float(line.rsplit(" ", 1)[1])


def busy(metrics: str) -> int | NoData:
    """Requests that run or wait."""
    load = parse_load(metrics, now=0.0)
    return load if isinstance(load, NoData) else load.running + load.waiting

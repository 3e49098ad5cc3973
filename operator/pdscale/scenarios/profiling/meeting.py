"""The first requests to an engine: what it is, how it is asked, how long its words are. They warm it up."""

import json
import random
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from pdscale.model.workload import NoData
from pdscale.perf.engine import Engine as Described
from pdscale.scenarios.fields import InvalidScenario
from pdscale.scenarios.profiling.asked import Asked
from pdscale.scenarios.profiling.client import Engine
from pdscale.scenarios.profiling.dialect import Dialect, dialect_of
from pdscale.scenarios.profiling.facts import Memory, memory_of, model_of
from pdscale.scenarios.profiling.points import Bounds
from pdscale.scenarios.profiling.prompts import Prompts, Scale
from pdscale.scenarios.profiling.rest import still_running

_SHORT, _LONG, _ANSWER = 32, 160, 64
_SPECULATES: Final = 1.25
"""Tokens per event from which an engine is taken to guess several: some events have none."""

_PATIENCE: Final = 1.0  # seconds in which our own first requests have left an engine's figures
_UNTOLD: Final = 8192  # longest context of an engine that says none


@dataclass(frozen=True, slots=True)
class Subject:
    """The engine under test. ``described`` still lacks a transfer that is timed."""

    dialect: Dialect
    scale: Scale
    bounds: Bounds
    described: Described
    tokens_per_event: float
    notes: tuple[str, ...]


async def meet(engine: Engine, asked: Asked, rng: random.Random) -> Subject:
    """Refuses what cannot be measured, or of which too little is known, before minutes of work."""
    model = await model_of(engine, asked.model)
    described = _described(model.name, memory_of(await engine.metrics() or ""), asked)
    prompts = Prompts(rng)
    dialect = await dialect_of(engine, model.name, prompts.words(_SHORT))
    notes = await _idle(engine, dialect, prompts, asked)
    short = await dialect.first_token(engine, prompts.words(_SHORT))
    words = prompts.words(_LONG)
    long = await dialect.first_token(engine, words)
    again = await dialect.first_token(engine, words)
    try:
        scale = Scale.of((_SHORT, short.prompt), (_LONG, long.prompt))
    except ValueError as error:
        raise InvalidScenario(f"{engine.url}: {error}") from error
    remembers = bool(again.cached)
    if not remembers:
        notes += (
            "the engine reports no cached tokens (vLLM: --enable-prompt-tokens-details, SGLang: "
            "--enable-cache-report), so no prefill after a history was measured",
        )
    longest = min(asked.longest or model.longest or _UNTOLD, int(described.kv_capacity))
    bounds = Bounds(longest, asked.max_batched_tokens, int(described.kv_capacity), remembers)
    per_event = await _tokens_per_event(engine, dialect, prompts.words(_SHORT))
    return Subject(dialect, scale, bounds, described, per_event, notes)


async def _idle(engine: Engine, dialect: Dialect, prompts: Prompts, asked: Asked) -> tuple[str, ...]:
    requests = await still_running(
        engine, lambda: dialect.first_token(engine, prompts.words(1)), patience=_PATIENCE
    )
    if isinstance(requests, NoData):
        return ("the engine does not say in /metrics whether it is busy: nothing else may use it meanwhile",)
    if requests and not asked.anyway:
        raise InvalidScenario(
            f"{engine.url}: is busy with {requests} requests; measure an idle engine, or say --anyway"
        )
    return ()


def _described(model: str, memory: Memory, asked: Asked) -> Described:
    """A flag comes before the engine's word, that before what ``--engine`` lends."""
    lent = Described.of(asked.engine) if asked.engine is not None else None
    tokens = asked.kv_tokens or memory.tokens or (lent.kv_capacity if lent else None)
    size = asked.kv_bytes_per_token or memory.bytes_per_token or (lent.kv_bytes_per_token if lent else None)
    bandwidth = asked.bandwidth or (lent.transfer_bandwidth if lent else None)
    if not tokens:
        raise InvalidScenario("--kv-tokens: is needed, as the engine does not say how much KV it holds")
    if not size:
        raise InvalidScenario(
            "--kv-bytes-per-token: is needed, as the engine does not say it: 2 x layers x KV heads x head "
            "size x bytes of a number, 131072 for Llama-3.1-8B in bf16; or --engine names a built-in profile"
        )
    if bandwidth is None and asked.prefill_url is None:
        raise InvalidScenario(
            "--bandwidth: is needed, such as 25GB/s; or --prefill-url names a second engine, transfers from "
            "which are timed, or --engine names a built-in profile of the same network"
        )
    return Described(
        name=asked.name or model.rsplit("/", 1)[-1].lower(),
        kv_capacity=tokens,
        kv_bytes_per_token=size,
        transfer_bandwidth=bandwidth or 1.0,  # until it is timed
        max_batched_tokens=asked.max_batched_tokens,
        max_sequences=asked.max_sequences,
    )


async def _tokens_per_event(engine: Engine, dialect: Dialect, prompt: str) -> float:
    """1 unless an engine speculates, and where a stream does not tell its usage."""
    body = {**dialect.body(prompt, tokens=_ANSWER), "stream_options": {"include_usage": True}}
    events = tokens = 0
    async with aclosing(engine.arrivals(dialect.path, body)) as arrivals:
        async for _, event in arrivals:
            document = json.loads(event)
            events += bool(document.get("choices"))
            tokens = (document.get("usage") or {}).get("completion_tokens", tokens)
    ratio = tokens / events if events else 1.0
    return ratio if ratio >= _SPECULATES else 1.0

"""The CSV forms of measurements: grids, static iterations, prefill sweeps and transfers.

    grid        phase, batch_size, new_tokens, prefix_tokens, context_tokens, latency_ms
    iterations  model, gpu, tp, batch_size, input_tokens, output_tokens, prefill_ms, decode_step_ms
    prefill     input_tokens, prefill_ms
    transfers   system, where, bytes, median_ms

A grid holds one engine, as does a prefill sweep; the other two hold several and are told apart by name.
Figures per request in the files become sums over the batch here.

The chunk of a mixed row is read as a slice of prompts that are ``context_tokens`` long, so its tokens look
at half of that on average: history (context - new) / 2, negative if the chunk holds several prompts. The
files do not say so; we infer it from the figures of the known grids: a chunk of 8192 tokens beside decodes
of 1024 each takes *less* than a prefill of one prompt of 8192, and beside decodes of 16384 more. Read so,
the mixed rows of the bf16 8B grid on A100 agree with our rule within 3.7 % (P90), otherwise within 19.6 %.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from pdscale.perf.measurements import (
    DecodePoint,
    Measurements,
    MixedPoint,
    PrefillPoint,
    TransferPoint,
)
from pdscale.perf.table import Table, TableError

GRID: Final = ("phase", "batch_size", "new_tokens", "prefix_tokens", "context_tokens", "latency_ms")
ITERATIONS: Final = (
    *("model", "gpu", "tp", "batch_size", "input_tokens", "output_tokens"),
    *("prefill_ms", "decode_step_ms"),
)
PREFILL: Final = ("input_tokens", "prefill_ms")
TRANSFERS: Final = ("system", "where", "bytes", "median_ms")
PHASES: Final = ("prefill", "decode", "mixed")
_ABSENT: Final = -1
_SHORTEST_MS: Final = 1e-6


def read_grid(table: Table) -> Measurements:
    """Points of a grid; each phase must fill the fields it needs."""
    table.require(*GRID)
    phases = table.texts("phase")
    batch = table.integers("batch_size", least=1)
    new = table.integers("new_tokens", least=1, unknown=_ABSENT)
    history = table.integers("prefix_tokens", unknown=_ABSENT)
    context = table.integers("context_tokens", unknown=_ABSENT)
    latency = table.floats("latency_ms", least=_SHORTEST_MS)
    prefill, decode, mixed = [], [], []
    for i, phase in enumerate(phases):
        _judge_phase(
            table, i, phase, {"new_tokens": new[i], "prefix_tokens": history[i], "context_tokens": context[i]}
        )
        seconds = latency[i] * 1e-3
        if phase == "prefill":
            prefill.append(PrefillPoint(batch[i], new[i], history[i], seconds))
        elif phase == "decode":
            decode.append(DecodePoint(batch[i], batch[i] * context[i], seconds))
        else:
            mean_history = history[i] + (context[i] - new[i]) / 2
            mixed.append(MixedPoint(new[i], mean_history, batch[i], batch[i] * context[i], seconds))
    return Measurements(table.source, tuple(prefill), tuple(decode), tuple(mixed))


def _judge_phase(table: Table, index: int, phase: str, fields: Mapping[str, int]) -> None:
    if phase not in PHASES:
        raise table.wrong(index, "phase", f"one of {', '.join(PHASES)}")
    for column, value in fields.items():
        needed = phase != ("prefill" if column == "context_tokens" else "decode")
        if needed and value == _ABSENT:
            raise table.wrong(index, column, f"given for phase {phase}")


def read_iterations(table: Table) -> dict[str, Measurements]:
    """Points per engine, named ``model gpu TPn``. A step's context is the prompt and half of the answer."""
    table.require(*ITERATIONS)
    engines: dict[str, Measurements] = {}
    batch = table.integers("batch_size", least=1)
    prompt = table.integers("input_tokens", least=1)
    answer = table.integers("output_tokens", least=1)
    prefill = table.floats("prefill_ms", least=_SHORTEST_MS)
    step = table.floats("decode_step_ms", least=_SHORTEST_MS, unknown=0.0)  # empty: a single token, no step
    for i, name in enumerate(_names(table)):
        resident = batch[i] * (prompt[i] + answer[i] / 2)
        point = Measurements(
            f"{table.source} ({name})",
            prefill=(PrefillPoint(batch[i], prompt[i], 0, prefill[i] * 1e-3),),
            decode=(DecodePoint(batch[i], resident, step[i] * 1e-3),) if step[i] else (),
        )
        known = engines.get(name, Measurements(point.source))
        engines[name] = Measurements(point.source, known.prefill + point.prefill, known.decode + point.decode)
    return engines


def _names(table: Table) -> Iterator[str]:
    columns = (table.texts("model"), table.texts("gpu"), table.integers("tp", least=1))
    return (f"{model} {gpu} TP{tp}" for model, gpu, tp in zip(*columns, strict=True))


def read_prefill_sweep(table: Table) -> Measurements:
    """Prefill alone of one request against its length."""
    table.require(*PREFILL)
    lengths = table.integers("input_tokens", least=1)
    times = table.floats("prefill_ms", least=_SHORTEST_MS)
    points = (PrefillPoint(1, n, 0, t * 1e-3) for n, t in zip(lengths, times, strict=True))
    return Measurements(table.source, prefill=tuple(points))


def read_transfers(table: Table) -> dict[str, tuple[TransferPoint, ...]]:
    """Points per link, named ``system where``."""
    table.require(*TRANSFERS)
    links: dict[str, list[TransferPoint]] = {}
    sizes = table.floats("bytes", least=1)
    times = table.floats("median_ms", least=_SHORTEST_MS)
    for i, (system, where) in enumerate(zip(table.texts("system"), table.texts("where"), strict=True)):
        links.setdefault(f"{system} {where}", []).append(TransferPoint(sizes[i], times[i] * 1e-3))
    return {name: tuple(points) for name, points in sorted(links.items())}


def read_measurements(table: Table) -> dict[str, Measurements]:
    """Whatever of these the header announces, per engine; one without a name is called by the source."""
    if "phase" in table:
        return {table.source: read_grid(table)}
    if "decode_step_ms" in table:
        return read_iterations(table)
    if "prefill_ms" in table:
        return {table.source: read_prefill_sweep(table)}
    raise TableError(
        f"{table.source}, row 1: must be the header of a grid ({', '.join(GRID)}), of iterations "
        f"({', '.join(ITERATIONS)}) or of a prefill sweep ({', '.join(PREFILL)}), "
        f"got {', '.join(table.columns)}"
    )

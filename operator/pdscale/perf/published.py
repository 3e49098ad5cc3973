"""Performance models that others published as formulae, points or presets, from their JSON.

    engine fits  affine pieces per engine, ours, fitted to AIConfigurator grids
    DistServe    prefill a + b sum(n) + c sum(n^2), step a + b sum(context) + c batch: the constants of its
                 simulator (Zhong et al., OSDI 2024), without pipeline stages
    Dynamo       measured points of one prefill and one decode worker; to be fitted by `refit`
    llm-d        latency presets of llm-d-inference-sim
    bandwidths   KV transfer, measured and assumed

DistServe's sum(n^2) is 2 Q without history, so its c becomes 2 c per pair; that tokens of a history cost
the same is our extension, as it has no prefix reuse. Capacities of its engines are estimates by the formula
of the engine fits: (0.9 * memory * tp - weights - 3 GB * tp) / KV bytes per token, 80 GB each.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pdscale.model.units import Seconds
from pdscale.perf.engine import Engine
from pdscale.perf.measurements import DecodePoint, Measurements, PrefillPoint
from pdscale.perf.place import Place
from pdscale.perf.profile import Profile, Segment

_MS: Final = 1e-3
_NIC: Final = 25e9  # bytes/s of network per GPU, as in `builtin`

# OPT in fp16 (Zhang et al., 2022, table 1): 2 * layers * hidden * 2 bytes of K and V per token; weights in
# bytes.
_OPT: Final[Mapping[str, tuple[float, float]]] = {
    "facebook/opt-13b": (4 * 40 * 5120, 26e9),
    "facebook/opt-66b": (4 * 64 * 9216, 132e9),
}


def read_engine_fits(document: Place) -> dict[str, Profile]:
    """Profiles by engine from ``engines``: pieces in ms, KV bytes and estimated capacity."""
    return {name: _fitted_engine(name, engine) for name, engine in document["engines"].items()}


def _fitted_engine(name: str, engine: Place) -> Profile:
    return Profile(
        name=name,
        source=f"{engine.source}: {engine['model'].text()} on {engine['gpu'].text()}",
        prefill=tuple(
            _segment(row["tokens_up_to"], row["a_ms"], row["b_ms_per_token"], row["c_ms_per_token_pair"])
            for row in engine["prefill"].elements()
        ),
        decode=tuple(
            _segment(row["batch_up_to"], row["a_ms"], row["b_ms_per_sequence"], row["c_ms_per_context_token"])
            for row in engine["decode"].elements()
        ),
        kv_capacity=engine["kv_capacity_tokens_estimate"].number(least=1),
        kv_bytes_per_token=engine["kv_bytes_per_token"].number(least=1),
        transfer_bandwidth=engine["tp"].number(least=1) * _NIC,
    )


def _segment(up_to: Place, fixed: Place, per_item: Place, per_pair: Place) -> Segment:
    slopes = (per_item.number(least=0) * _MS, per_pair.number(least=0) * _MS)
    return Segment(up_to.bound(), fixed.number() * _MS, *slopes)


def read_distserve(document: Place) -> dict[str, Profile]:
    """Profiles named ``engine model TPn`` from ``fits``."""
    return {
        f"{engine} {model} TP{tp}": _distserve(f"{engine} {model} TP{tp}", fit, model, tp)
        for engine, models in document["fits"].items()
        for model, degrees in models.items()
        for tp, fit in degrees.items()
    }


def _distserve(name: str, fit: Place, model: str, tp: str) -> Profile:
    if model not in _OPT or not tp.isdigit() or int(tp) < 1:
        raise fit.wrong(f"a fit of {' or '.join(_OPT)} under a whole tensor parallel degree")
    gpus = int(tp)
    kv_bytes, weights = _OPT[model]
    a, b, c = _three(fit["prefill"])
    odd = f"; its negative c, {c / _MS:g} ms, taken as 0" if c < 0 else ""
    threshold = fit["decoding_large_small_bs_threshold"].number(least=1)
    return Profile(
        name=name,
        source=f"{fit.source}: DistServe's constants, OPT on A100-80GB{odd}",
        prefill=(Segment(math.inf, a, b, max(0.0, 2 * c)),),
        decode=tuple(
            Segment(up_to, fixed, per_sequence, per_context)
            for up_to, (fixed, per_context, per_sequence) in (
                (threshold, _three(fit["decoding_smallbs"])),
                (math.inf, _three(fit["decoding_largebs"])),
            )
        ),
        kv_capacity=(0.9 * 80e9 * gpus - weights - 3e9 * gpus) / kv_bytes,
        kv_bytes_per_token=kv_bytes,
        transfer_bandwidth=gpus * _NIC,
    )


def _three(place: Place) -> tuple[float, float, float]:
    figures = place.elements()
    if len(figures) != 3:
        raise place.wrong("a list of 3 coefficients")
    return figures[0].number() * _MS, figures[1].number(least=0) * _MS, figures[2].number() * _MS


def read_dynamo(document: Place) -> Measurements:
    """Points of a profiled pair of workers: TTFT by prompt, ITL by KV usage and context length.

    The number of running sequences is kv_usage * max_kv_tokens / context_length. TTFT holds about 10 ms that
    are not the GPU's.
    """
    prefill, decode = document["prefill"], document["decode"]
    capacity = document["max_kv_tokens"].number(least=1)
    columns = _aligned(prefill, "input_tokens", "ttft_ms")
    rows = _aligned(decode, "kv_usage", "context_length", "itl_ms")
    return Measurements(
        document.source,
        prefill=tuple(PrefillPoint(1, n, 0.0, t * _MS) for n, t in zip(*columns, strict=True)),
        decode=tuple(
            DecodePoint(usage * capacity / context, usage * capacity, t * _MS)
            for usage, context, t in zip(*rows, strict=True)
        ),
    )


def _aligned(place: Place, *names: str) -> list[list[float]]:
    columns = [place[name].numbers(least=1e-9) for name in names]
    for name, column in zip(names, columns, strict=True):
        if len(column) != len(columns[0]):
            raise place[name].wrong(f"as long as {names[0]}, {len(columns[0])}")
    return columns


def read_llmd_presets(document: Place, engine: Engine) -> dict[str, Profile]:
    """Presets as profiles of ``engine``, which gives memory, KV bytes and set-up time.

    Between 1 and ``max_num_seqs`` running sequences the step grows from itl to ``factor_under_load`` times
    it. Round figures chosen by their publisher: a pessimistic case, no measurement.
    """
    return {name: _preset(name, row, engine) for name, row in document["presets"].items()}


def _preset(name: str, row: Place, engine: Engine) -> Profile:
    most = row["max_num_seqs"].number(least=1)
    step = row["itl"].number(least=0) * _MS
    growth = step * (row["factor_under_load"].number(least=1) - 1) / max(1.0, most - 1)
    per_token = row["kv_transfer_per_token"].number(least=1e-9) * _MS
    constant = row["kv_transfer_constant"].number(least=0) * _MS if "kv_transfer_constant" in row else None
    return Profile(
        name=name,
        source=f"{row.source}: preset of llm-d-inference-sim",
        prefill=(
            Segment(
                math.inf,
                row["prefill_overhead"].number(least=0) * _MS,
                row["prefill_per_token"].number(least=0) * _MS,
                0.0,
            ),
        ),
        decode=(Segment(math.inf, step - growth, growth, 0.0),),
        kv_capacity=engine.kv_capacity,
        kv_bytes_per_token=engine.kv_bytes_per_token,
        transfer_bandwidth=engine.kv_bytes_per_token / per_token,
        transfer_fixed=engine.transfer_fixed if constant is None else constant,
        max_batched_tokens=engine.max_batched_tokens,
        max_sequences=int(most),
    )


@dataclass(frozen=True, slots=True)
class Bandwidth:
    """One published figure of a link, in bytes/s; ``setup`` where one was given, the middle of its range."""

    what: str
    rates: tuple[float, ...]
    setup: Seconds | None
    measured: bool


def read_bandwidths(document: Place) -> tuple[Bandwidth, ...]:
    """All rows of a KV transfer document, measured ones first."""
    return tuple(
        _bandwidth(row, measured=kind == "measured")
        for kind in ("measured", "assumed_by_others")
        for row in document[kind].elements()
    )


def _bandwidth(row: Place, *, measured: bool) -> Bandwidth:
    rate = row["gbps"]
    rates = rate.numbers(least=1e-9) if isinstance(rate.value, list) else [rate.number(least=1e-9)]
    setup = row["setup_ms"].numbers(least=0) if "setup_ms" in row else []
    return Bandwidth(
        what=row["what"].text(),
        rates=tuple(r * 1e9 for r in rates),
        setup=sum(setup) / len(setup) * _MS if setup else None,
        measured=measured,
    )

"""A profile of the simulator's mock engines, from forward passes that the simulator reports.

Who plans may look at what a policy is given: of each worker its last pass, once a second here. A rising load
on four prefill replicas and one decode replica shows decode passes of every size, the same on one prefill
replica the full prefill passes. Both planners get these passes: Dynamo's its regressions' benchmark, ours the
fit. Traces of this are drawn with a seed of its own.

Decode times of the mock are concave in resident tokens and know no batch size; `Profile` has a line in
resident tokens per range of batch sizes. Three such ranges, of passes not much slower than the TPOT
limit, follow it to some percent.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.dynamo.cases import Case
from benchmarks.dynamo.simulator import Samples, Tick, replayed
from pdscale.model.pools import Targets
from pdscale.model.units import Seconds
from pdscale.perf.fitting import FitError, fit_affine, relative_error
from pdscale.perf.profile import Profile, Segment
from pdscale.workload.generators import Phase, phased

Pass = tuple[int, int, int, int, float]

_RANGES: Final = 3
_BEYOND: Final = 1.3  # times the TPOT limit; slower passes are not planned for
_GIVEN: Final = 30  # passes of each role for Dynamo's regressions, 60 as in the study of peers
_RAMP: Final[Seconds] = 300.0
_STEPS: Final = 30
_ANY_BANDWIDTH: Final = 1e15  # the simulator's transfers take no time unless it is told a bandwidth


@dataclass(frozen=True, slots=True)
class Profiled:
    profile: Profile
    samples: Samples
    prefill_error: FitError
    decode_error: FitError


def profiled(python: Path, case: Case) -> Profiled:
    prefill: list[Pass] = []
    decode: list[Pass] = []

    def look(tick: Tick) -> None:
        prefill.extend(passes(tick, "prefill"))
        decode.extend(passes(tick, "decode"))

    rng = random.Random(f"profile {case.name}")
    # One prefill replica of speed 0.3 carries some 4/s of 3000 tokens: beyond full at the ramp's end.
    most = 25.0 * case.speed * 3000 / case.task.prompt.mean
    ramp = [Phase(_RAMP / _STEPS, most * (k + 0.5) / _STEPS, case.task) for k in range(_STEPS)]
    trace = phased(ramp, rng=rng)
    for fleet in (Targets(1, 1), Targets(4, 1)):
        replayed(python, case, trace, fleet=fleet, decide=look, interval=1.0)
    return fitted(case, prefill, decode)


def passes(tick: Tick, role: str) -> list[Pass]:
    """Those that did this role's work: a prefill replica also reports handing KV over."""
    found = [
        (
            s["num_prefill_requests"],
            s["sum_prefill_tokens"],
            s["num_decode_requests"],
            s["sum_decode_kv_tokens"],
            s["wall_time"],
        )
        for s in tick[f"{role}_fpm_snapshots"]
        if s["wall_time"] > 0
    ]
    return [p for p in found if (p[0] if role == "prefill" else p[2])]


def fitted(case: Case, prefill: Sequence[Pass], decode: Sequence[Pass]) -> Profiled:
    """Prefill passes by (N, N^2 / 2), as of one prompt; decode passes in ranges of as many passes each."""
    rows = [(float(n), n * n / 2) for _, n, _, _, _ in prefill]
    a, b, c = fit_affine(rows, [p[4] for p in prefill])
    steps = sorted((p for p in decode if p[4] <= _BEYOND * case.slo.tpot), key=lambda p: (p[2], p[3], p[4]))
    first = steps[0][4]
    profile = Profile(
        name=f"dynamo-mock-{case.speed:g}",
        source=f"fitted to passes of Dynamo's mock engine at speedup_ratio {case.speed:g}",
        prefill=(Segment(math.inf, a, b, c),),
        decode=_segments(steps),
        kv_capacity=case.kv_capacity,
        kv_bytes_per_token=1.0,
        transfer_bandwidth=_ANY_BANDWIDTH,
        # The first token comes with the first decode step, in this simulator.
        transfer_fixed=first,
    )
    return Profiled(
        profile,
        Samples(_thinned(prefill), _thinned(steps)),
        relative_error([profile.prefill_seconds(p[1]) for p in prefill], [p[4] for p in prefill]),
        relative_error([profile.step_seconds(p[2], p[3]) for p in steps], [p[4] for p in steps]),
    )


def _segments(steps: Sequence[Pass]) -> tuple[Segment, ...]:
    size = math.ceil(len(steps) / _RANGES)
    parts = [steps[k : k + size] for k in range(0, len(steps), size)]
    found: list[Segment] = []
    for part in parts:
        fixed, slope = fit_affine([(float(p[3]),) for p in part], [p[4] for p in part])
        up_to = math.inf if part is parts[-1] else float(part[-1][2])
        if not found or up_to > found[-1].up_to:
            found.append(Segment(up_to, fixed, 0.0, slope))
    return tuple(found)


def _thinned(found: Sequence[Pass]) -> tuple[Pass, ...]:
    every = max(1, len(found) // _GIVEN)
    return tuple(found[::every][:_GIVEN])

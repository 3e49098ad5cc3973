"""What engines took at an instant over what the profile says they take at that very operating point.

Only what an engine does with what it has been given is compared, at the load that it had: waits in queues are
in none of these figures. An overloaded pool looks as fast as it is, and more replicas do not change a ratio
that is right, so a planner that believes it closes no loop.

Decode. Mean time between two tokens, against a step of as many streams as a stream found on its engine. An
engine that prefills local rounds makes its streams wait meanwhile: of each second the share u that these take
beyond the steps that they replace is no step, hence gap * (1 - u).

Prefill. Mean time of a leg from its first pass to its first token, at the mean tokens of such legs and the
spread of lengths of all rounds. Legs that share a pass each count the whole of it, and the busier a pool the
more share one: 1155 tokens alone take 0.19 s, each of two together 0.33 s. So how many did is part of the
operating point: of a mean of 1.3 legs a pass, three passes in ten had two.

Where the operating point is not known nothing is compared. Decode: rounds end faster or slower than they
arrive, or are of another kind (lengths are of those that ended), local prefills take more than a tenth of an
engine's time, or there is hardly a stream. Prefill: legs are much longer or shorter than rounds (then their
histories differ, too), or longer than a sample. Phases of summaries and reasoning, half of them prefilled
locally, read 0.6 to 1.5 without this.
"""

import math
from dataclasses import dataclass, replace
from typing import Final

from pdscale.model.workload import Workload
from pdscale.perf.capacity import prefill_service, resident_tokens
from pdscale.perf.profile import Profile
from pdscale.scaling.history import History
from pdscale.scaling.mix import (
    ALIKE,
    CHANCE,
    LENGTHS_WINDOW,
    NOW,
    lengths_of_arrivals,
    rounds_in,
    same_mix,
    window_of_now,
)

MOST_LOCAL: Final = 0.1  # of an engine's time; beyond it the formula for u is much of what is compared
LEAST_BATCH: Final = 2.0
LEGS_ALIKE: Final = 2.0  # mean legs within this factor of mean rounds


@dataclass(frozen=True, slots=True)
class Ratios:
    """Seen over predicted in the newest sample; ``None`` where it cannot be told. ``rounds`` ended in it."""

    prefill: float | None
    decode: float | None
    rounds: float


def tells(history: History, index: int) -> bool:
    """Whether engines told a pace in that sample; where none did, there is nothing to compare."""
    told = (_known(history, name, index) for name in ("prefill_leg_seconds", "inter_token_latency"))
    return any(pace is not None for pace in told)


def ratios_of(past: History, profile: Profile, *, prefill_factor: float = 1.0) -> Ratios:
    """Of the last sample of a past. Local prefills take ``prefill_factor`` times what the profile says."""
    ended = past.workload(window=LENGTHS_WINDOW)
    if not isinstance(ended, Workload):
        return Ratios(None, None, 0.0)
    newest = past.completed.values[-1]
    rounds = 0.0 if math.isnan(newest) else newest * past.completed.step
    return Ratios(_prefill(past, ended, profile), _decode(past, ended, profile, prefill_factor), rounds)


def _prefill(past: History, ended: Workload, profile: Profile) -> float | None:
    seen, tokens = _newest(past, "prefill_leg_seconds"), _newest(past, "prefill_leg_tokens")
    if seen is None or tokens is None or ended.uncached_tokens <= 0:
        return None
    longer = tokens / ended.uncached_tokens
    if not 1 / LEGS_ALIKE <= longer <= LEGS_ALIKE or seen > past.completed.step:
        return None
    legs = replace(
        ended,
        context_tokens=max(0.0, ended.context_tokens - ended.uncached_tokens) + tokens,
        uncached_tokens=tokens,
        uncached_tokens_squared=ended.uncached_tokens_squared * longer * longer,
    )
    predicted = _leg_seconds(legs, profile, together=_newest(past, "prefill_legs_per_pass") or 1.0)
    return seen / predicted if predicted > 0 else None


def _leg_seconds(legs: Workload, profile: Profile, *, together: float) -> float:
    """Mean over legs of the pass that each was in, of which so many shared one in the mean."""
    alone, _ = prefill_service(legs, profile)
    new, history = legs.uncached_tokens, legs.context_tokens - legs.uncached_tokens
    another = profile.prefill_batch_seconds([(new, history)] * 2) - profile.prefill_seconds(new, history)
    together = min(max(1.0, together), profile.max_sequences)
    fewer = math.floor(together)
    more = together - fewer  # of passes that had one more
    shares = ((fewer, 1 - more), (fewer + 1, more))
    return math.fsum(p * k * (alone + (k - 1) * another) for k, p in shares) / together


def _decode(past: History, ended: Workload, profile: Profile, prefill_factor: float) -> float | None:
    gap, batch = _newest(past, "inter_token_latency"), _newest(past, "decode_batch")
    if gap is None or batch is None or batch < LEAST_BATCH or not _settled(past, ended):
        return None
    context = batch * resident_tokens(ended)
    step = profile.step_seconds(batch, context)
    local = _local_share_of_time(past, ended, profile, batch=batch, context=context, gap=gap)
    away = prefill_factor * local
    return gap * (1 - away) / step if step > 0 and away <= MOST_LOCAL else None


def _settled(past: History, ended: Workload) -> bool:
    """Whether the streams at work are of those whose lengths are known."""
    coming, _ = lengths_of_arrivals(past, window_of_now(past))
    if coming is not None and not same_mix(past, coming, ended):
        return False
    came, went = rounds_in(past.request_rate, NOW), rounds_in(past.completed, NOW)
    near = max(came, went) <= ALIKE * min(came, went)
    return near or abs(came - went) <= CHANCE * math.sqrt(came + went)


def _local_share_of_time(
    past: History, ended: Workload, profile: Profile, *, batch: float, context: float, gap: float
) -> float:
    """Of an engine's time, as the profile knows it: a chunk beside the streams, less the step it replaces.

    40 streams at 25 ms draw 1600 tokens/s, so of an output of 4800/s three engines have a share each.
    """
    share, new = past.local_share.values[-1], ended.uncached_tokens
    rate, output = past.uncached_tokens.values[-1], past.output_tokens.values[-1]
    if not (share > 0 and rate > 0 and output > 0 and new > 0):
        return 0.0
    engines = max(1.0, output * gap / batch)
    history = max(0.0, ended.context_tokens - new)
    mixed = profile.iteration_seconds([(new, history)], batch=batch, context=context)
    extra = mixed - profile.step_seconds(batch, context)
    return share * rate / engines * extra / new


def _newest(past: History, name: str) -> float | None:
    return _known(past, name, -1)


def _known(history: History, name: str, index: int) -> float | None:
    series = getattr(history, name)
    value = math.nan if series is None else series.values[index]
    return value if value > 0 else None

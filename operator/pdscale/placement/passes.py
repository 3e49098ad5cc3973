"""What a prefill costs on an engine that decodes at the same time, in closed form.

The engine takes as many prompt tokens into each iteration as its budget leaves beside the running streams,
one token each. An iteration is affine in its token pairs, so the full ones add up to their number times the
one in the middle; only the last is shorter.
"""

import math
from typing import NamedTuple

from pdscale.model.units import Seconds, Tokens
from pdscale.perf.profile import Profile


class Passes(NamedTuple):
    """``seconds`` from the first iteration to the last; ``stall``, what the streams lose in them; ``broken``,
    how many of them take longer than a gap between two tokens may."""

    seconds: Seconds
    stall: Seconds
    broken: float


def prefill_among_streams(
    profile: Profile, new: Tokens, history: Tokens, *, streams: int, context: Tokens, gap: Seconds = math.inf
) -> Passes:
    """``context`` is the sum of the streams' contexts, ``gap`` the limit on one iteration.

    8B on an H100, 32 streams of 2 k, 8000 new after 4000: one pass of 221 ms instead of a step of 10 ms.
    """
    new = max(1.0, new)  # a prompt that is cached to the last token still needs one for the first logits
    chunk = max(1.0, float(profile.max_batched_tokens - streams))
    full, rest = divmod(new, chunk)
    seconds, passes, broken = 0.0, full, 0.0
    if full:
        middle = history + (full - 1) / 2 * chunk
        one = profile.iteration_seconds([(chunk, middle)], batch=streams, context=context)
        seconds += full * one
        broken += full if one > gap else 0.0
    if rest:
        passes += 1
        before = history + full * chunk
        last = profile.iteration_seconds([(rest, before)], batch=streams, context=context)
        seconds += last
        broken += 1.0 if last > gap else 0.0
    stall = seconds - passes * profile.step_seconds(streams, context)
    return Passes(seconds, max(0.0, stall), broken)

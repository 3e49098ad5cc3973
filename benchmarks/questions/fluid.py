"""How many rounds the work alone lets be in time: a bound on every placement, order and split.

Relaxed until it can be solved (ours): all replicas are one server of so many seconds of work a second, work
can be interrupted and cut into any pieces, KV moves at once and never takes room, a part of a round counts as
that part of it. A round must have all of its work done between its arrival and the end of its limits. Work
amounts that fit are then a polymatroid (they flow from slots of time into windows), so taking the rounds with
least work first, each as far as it still fits, is the best there is.

What is left out only helps: the bound is above what can be had, and how far above it does not tell.
"""

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from pdscale.model.units import Seconds, Tokens
from pdscale.perf.model import PerformanceModel
from pdscale.sim.limits import EngineSetup

_SLOTS: Final = 600  # of the span, so that a table of pairs of them stays small
_FINEST: Final[Seconds] = 0.5


class Job(NamedTuple):
    """So many seconds of work between two instants."""

    work: Seconds
    begin: Seconds
    end: Seconds


def most_in_time(jobs: Sequence[Job], *, servers: int) -> float:
    """At most this share of them; windows are rounded outwards to slots. 1 without jobs."""
    if not jobs:
        return 1.0
    begin, end = min(j.begin for j in jobs), max(j.end for j in jobs)
    slot = max(_FINEST, (end - begin) / _SLOTS)
    marks = np.arange(math.ceil((end - begin) / slot) + 2)
    room = (servers * slot) * (marks[None, :] - marks[:, None]).astype(np.float64)  # from mark to mark
    done = 0.0
    for job in sorted(jobs):
        first, last = int((job.begin - begin) // slot), math.ceil((job.end - begin) / slot)
        around = room[: first + 1, last:]  # every stretch of time that holds its window
        fits = min(job.work, max(0.0, float(around.min())))
        around -= fits
        done += fits / job.work if job.work > 0 else 1.0
    return done / len(jobs)


def least_work(setup: EngineSetup, *, new: Tokens, history: Tokens, output: Tokens) -> Seconds:
    """Of one replica's time, in passes that are full of prompts like this one and in batches that are full of
    answers like this one."""
    return _prefill(setup, new, history) + _decode(setup, history + new + output / 2, output)


def _prefill(setup: EngineSetup, new: Tokens, history: Tokens) -> Seconds:
    model, budget = setup.model, setup.batched_tokens
    full, rest = divmod(new, budget)
    whole = sum(model.prefill_seconds(budget, history + k * budget) for k in range(int(full)))
    if not rest:
        return whole
    alike = max(1, int(budget // rest))
    return whole + model.prefill_batch_seconds([(rest, history + full * budget)] * alike) / alike


def _decode(setup: EngineSetup, context: Tokens, output: Tokens) -> Seconds:
    most = min(setup.sequences, max(1, int(setup.kv_tokens // context)))
    return output * min(_each(setup.model, batch, context) for batch in {1, max(1, most // 2), most})


def _each(model: PerformanceModel, batch: int, context: Tokens) -> Seconds:
    return model.step_seconds(batch, batch * context) / batch

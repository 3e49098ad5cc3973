"""A machine too small for the engines' pace is given slower engines, not a verdict.

What a run needs of the machine is a wake-up per token and hop. With all times stretched alike, of engines and
links, of limits, waits and the replay, the same sessions meet the same queues at a fraction of the machine's
work. The router is not stretched: its windows of ten seconds and polls of one are then shorter by comparison.
"""

from dataclasses import replace

from benchmarks.policies.cell import Times
from benchmarks.policies.excerpts import Shape
from pdscale.model.slo import SLO
from pdscale.perf.profile import Profile, Segment


def slower_profile(profile: Profile, by: float) -> Profile:
    """The same engine with every time ``by`` times as long."""
    return replace(
        profile,
        name=f"{profile.name}, {by:g} times slower",
        prefill=_slower(profile.prefill, by),
        decode=_slower(profile.decode, by),
        transfer_bandwidth=profile.transfer_bandwidth / by,
        transfer_fixed=profile.transfer_fixed * by,
    )


def slower_slo(slo: SLO, by: float) -> SLO:
    return SLO(ttft=slo.ttft * by, tpot=slo.tpot * by)


def slower_shape(shape: Shape, by: float) -> Shape:
    return replace(
        shape, wait=shape.wait * by, longest_wait=shape.longest_wait * by, past=shape.past * by, pace=by
    )


def slower_times(times: Times, by: float) -> Times:
    return Times(times.warm * by, times.measured * by, times.rest * by)


def _slower(segments: tuple[Segment, ...], by: float) -> tuple[Segment, ...]:
    return tuple(Segment(s.up_to, s.fixed * by, s.per_item * by, s.per_pair * by) for s in segments)

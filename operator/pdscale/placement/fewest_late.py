"""The order of prefills in which fewest are late, and in which those that are late do not starve.

Of legs that wait, as many as can be in time are, and they go by deadline: in the order of deadlines take one
after the other, and whenever one would be late, leave out the longest of those taken so far (Moore and
Hodgson: Moore, Management Science 15, 1968, which shows that no order has fewer late). Begun anew for every
leg that leaves, since others have arrived.

Whoever cannot be in time any more even if it were next is *late*. Late legs go when nobody else waits,
shortest first with `ShortestRemaining`'s ageing; and one that has waited longer than its size over the ageing
goes before everybody (ours): by then it has been passed for 33 times what it takes.

Shortest first alone makes legs late that were in time. A router that sends rounds where their predicted first
token is within its limit keeps queues nearly as long as the limit; whoever is long was then passed by all
that came after, up to 33 times its size. One prefill replica beside seven that decode, 20 conversations/s
on Llama-3.1-70B, four H100 a replica, a limit of 2 s: 88.8 % in time with shortest first, with this order and
with first come, first served 99.9 %; where queues grow beyond all limits this one is ahead of both.
"""

import heapq
from bisect import insort
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Final

from pdscale.model.units import Seconds
from pdscale.placement.ordering import PrefillLeg, ShortestRemaining, Sorted

_deadline: Final = attrgetter("deadline")


@dataclass(slots=True)
class FewestLate:
    """Planned for ``alpha`` of each leg's time, as `CostBased` is: the rest is for errors of prediction, and
    for the way to the decode replica."""

    ageing: float = 0.03
    alpha: float = 0.9
    _in_time: list[PrefillLeg] = field(default_factory=list)  # by deadline
    _late: Sorted = field(init=False)

    def __post_init__(self) -> None:
        if not 0 < self.alpha <= 1:
            raise ValueError(f"alpha must be above 0 and at most 1, got {self.alpha}")
        self._late = Sorted(ShortestRemaining(self.ageing))

    @property
    def work(self) -> Seconds:
        return self.pressing + self._late.work

    @property
    def pressing(self) -> Seconds:
        """Without those that are late: they let pass who comes. With them, a router kept rounds from a
        replica that had time for them: summaries at 16/s on 4P+4D 84.1 % in time, without 87.7 %."""
        return sum(leg.seconds for leg in self._in_time)

    def push(self, leg: PrefillLeg) -> None:
        insort(self._in_time, leg, key=_deadline)

    def pop(self, now: Seconds) -> PrefillLeg:
        """Who is next if it begins at ``now``."""
        self._give_up(now)
        # A key is size + ageing * arrival: up to ageing * now, the leg has waited for size / ageing.
        if not self._in_time or self._late.least_key() <= self.ageing * now:
            return self._late.pop(now)
        leg = self._next(now)
        self._in_time.remove(leg)
        return leg

    def discard(self, leg: PrefillLeg) -> None:
        """A leg that nobody waits for any more; one that is not here is none of our business."""
        if leg in self._in_time:
            self._in_time.remove(leg)
        else:
            self._late.discard(leg)

    def ahead(self, leg: PrefillLeg) -> Seconds:
        return sum(other.seconds for other in self._in_time if other.deadline <= leg.deadline)

    def __len__(self) -> int:
        return len(self._in_time) + len(self._late)

    def _due(self, leg: PrefillLeg) -> Seconds:
        return leg.arrived + self.alpha * (leg.deadline - leg.arrived)

    def _give_up(self, now: Seconds) -> None:
        """For good, since time only goes on; so few are ever looked at, those that came within one limit."""
        still = []
        for leg in self._in_time:
            if now + leg.seconds <= self._due(leg):
                still.append(leg)
            else:
                self._late.push(leg)
        self._in_time = still

    def _next(self, now: Seconds) -> PrefillLeg:
        """The first of those that can all be in time. There is one, since each alone would be."""
        taken: list[tuple[Seconds, int]] = []
        left_out = set[int]()
        end = now
        for at, leg in enumerate(self._in_time):
            heapq.heappush(taken, (-leg.seconds, at))
            end += leg.seconds
            if end > self._due(leg):
                longest, where = heapq.heappop(taken)
                end += longest
                left_out.add(where)
        return next(leg for at, leg in enumerate(self._in_time) if at not in left_out)

"""In which order prefill legs leave the queue in front of a prefill engine.

Three orders are a key that is fixed when a leg arrives, so nothing is ever sorted anew:

    FCFS                arrival
    EarliestDeadline    deadline
    ShortestRemaining   predicted + a * arrival

The last is shortest-first with linear ageing: the urgency ``size - a * waited`` of two legs differs by a
constant. A leg of size s can be passed only by smaller ones that arrive less than s / a after it: the
bound is in the key. A waiting leg has run nothing, so what remains of it is its size; inside the engine
no order is ours.

a = 0.03, simulated for one server (no preemption, sizes lognormal with median 0.15 s and 99th percentile
2.2 s, limit 2 s, three seeds of 20 000; the tests hold a shorter run). Share in time, and 99th percentile of
the wait:

    load    FCFS           a = 0.3        a = 0.1        a = 0.03       a = 0
    0.80    63 %  12 s     78 %  9.5 s    86 %  8.1 s    87 %  8.1 s    88 %  8.4 s
    0.95    26 %  39 s     40 %  36 s     62 %  32 s     80 %  26 s     83 %  18 s

Without ageing the longest wait at 0.95 was 485 s, with 0.03 191 s, with FCFS 45 s.

AMPDWindow is the published rule, Algorithm 2 ("Efficient Multi-round LLM Inference over Disaggregated
Serving"): of the first w legs, the order that lets most meet their deadlines. The paper's text was not
available: that ties go to the least total lateness and then to the earlier arrival, and that a leg passed
over w times is next, is ours.
"""

import heapq
import math
from dataclasses import dataclass, field
from itertools import permutations
from typing import Protocol

from pdscale.model.units import Seconds


@dataclass(frozen=True, slots=True, eq=False)
class PrefillLeg:
    """``seconds`` is the predicted time on an idle engine, ``deadline`` when the leg should be done."""

    arrived: Seconds
    seconds: Seconds
    deadline: Seconds

    def __post_init__(self) -> None:
        if not self.seconds >= 0:
            raise ValueError(f"leg.seconds must be at least 0, got {self.seconds}")


class Queue(Protocol):
    """``work`` is the sum of the waiting legs' seconds; ``pressing`` the part that goes before whoever comes
    next, as far as that depends on nothing but the order; ``ahead`` what goes before this very leg."""

    @property
    def work(self) -> Seconds: ...

    @property
    def pressing(self) -> Seconds: ...

    def push(self, leg: PrefillLeg) -> None: ...

    def pop(self, now: Seconds) -> PrefillLeg: ...

    def discard(self, leg: PrefillLeg) -> None: ...

    def ahead(self, leg: PrefillLeg) -> Seconds: ...

    def __len__(self) -> int: ...


class Order(Protocol):
    """Smaller keys go first; equal ones by arrival in the queue."""

    def key(self, leg: PrefillLeg) -> float: ...


class FCFS:
    """Nobody passes anybody."""

    def key(self, leg: PrefillLeg) -> float:
        return 0.0


class EarliestDeadline:
    """With one TTFT limit for all this is FCFS; it differs where the limit grows with the prompt."""

    def key(self, leg: PrefillLeg) -> float:
        return leg.deadline


@dataclass(frozen=True, slots=True)
class ShortestRemaining:
    """Shortest first; a leg is passed only by those that arrive less than its size / ``ageing`` after it."""

    ageing: float = 0.03

    def __post_init__(self) -> None:
        if not self.ageing > 0:
            raise ValueError(f"ageing must be above 0, got {self.ageing}")

    def key(self, leg: PrefillLeg) -> float:
        return leg.seconds + self.ageing * leg.arrived


@dataclass(slots=True)
class Sorted:
    """A queue by a fixed key. The discarded leave the heap when they come up, or when they are most of it."""

    order: Order
    _heap: list[tuple[float, int, PrefillLeg]] = field(default_factory=list)
    _waiting: dict[PrefillLeg, float] = field(default_factory=dict)  # with its key
    _pushed: int = 0
    _work: Seconds = 0.0

    @property
    def work(self) -> Seconds:
        return self._work

    @property
    def pressing(self) -> Seconds:
        return self._work

    def push(self, leg: PrefillLeg) -> None:
        key = self.order.key(leg)
        self._pushed += 1
        self._waiting[leg] = key
        self._work += leg.seconds
        heapq.heappush(self._heap, (key, self._pushed, leg))

    def pop(self, now: Seconds) -> PrefillLeg:
        self._forget_discarded()
        if not self._heap:
            raise IndexError("pop from an empty queue")
        leg = heapq.heappop(self._heap)[2]
        self._drop(leg)
        return leg

    def least_key(self) -> float:
        """Of who is next; infinite where nobody waits."""
        self._forget_discarded()
        return self._heap[0][0] if self._heap else math.inf

    def discard(self, leg: PrefillLeg) -> None:
        """A leg that nobody waits for any more; one that is not here is none of our business."""
        if leg not in self._waiting:
            return
        self._drop(leg)
        if len(self._heap) > 2 * len(self._waiting) + 16:
            self._heap = [entry for entry in self._heap if entry[2] in self._waiting]
            heapq.heapify(self._heap)

    def ahead(self, leg: PrefillLeg) -> Seconds:
        key = self.order.key(leg)
        return sum(other.seconds for other, theirs in self._waiting.items() if theirs <= key)

    def __len__(self) -> int:
        return len(self._waiting)

    def _forget_discarded(self) -> None:
        while self._heap and self._heap[0][2] not in self._waiting:
            heapq.heappop(self._heap)

    def _drop(self, leg: PrefillLeg) -> None:
        del self._waiting[leg]
        self._work = self._work - leg.seconds if self._waiting else 0.0


@dataclass(slots=True)
class _Passed:
    leg: PrefillLeg
    times: int = 0


@dataclass(slots=True)
class AMPDWindow:
    """Of the first ``window`` legs, whichever begins the order in which most are in time."""

    window: int = 3
    _waiting: list[_Passed] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not 1 <= self.window <= 6:  # 720 orders; beyond it a decision takes milliseconds
            raise ValueError(f"window must be in 1..6, got {self.window}")

    @property
    def work(self) -> Seconds:
        return sum(entry.leg.seconds for entry in self._waiting)

    @property
    def pressing(self) -> Seconds:
        return self.work

    def push(self, leg: PrefillLeg) -> None:
        self._waiting.append(_Passed(leg))

    def pop(self, now: Seconds) -> PrefillLeg:
        at = self._next(now)
        for entry in self._waiting[:at]:
            entry.times += 1
        return self._waiting.pop(at).leg

    def discard(self, leg: PrefillLeg) -> None:
        self._waiting = [entry for entry in self._waiting if entry.leg is not leg]

    def ahead(self, leg: PrefillLeg) -> Seconds:
        return self.work

    def __len__(self) -> int:
        return len(self._waiting)

    def _next(self, now: Seconds) -> int:
        first = self._waiting[: self.window]
        if not first:
            raise IndexError("pop from an empty queue")
        if first[0].times >= self.window:
            return 0
        # permutations() begins with the order of arrival, and min() keeps the first of equals.
        legs = [entry.leg for entry in first]
        return min(permutations(range(len(first))), key=lambda order: _misses(legs, order, now))[0]


def _misses(legs: list[PrefillLeg], order: tuple[int, ...], now: Seconds) -> tuple[int, Seconds]:
    """How many of them are late in this order, and by how much in all."""
    late, lateness = 0, 0.0
    for at in order:
        now += legs[at].seconds
        if now > legs[at].deadline:
            late, lateness = late + 1, lateness + now - legs[at].deadline
    return late, lateness

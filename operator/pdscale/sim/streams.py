"""The batch that a decode replica is generating for, without a thought per stream and step.

The engine counts its steps and those of them above the TPOT limit. A stream that joins at step count n with t
tokens to come ends at n + t, so the next end is the head of a heap; how many of its gaps were slow is a
difference of two readings of the other counter.
"""

import heapq

from pdscale.model.units import Seconds
from pdscale.sim.request import Request


class Streams:
    """``batch`` sequences, ``context`` tokens that the next step reads. ``fresh`` ones have no token yet."""

    __slots__ = ("_ends", "_members", "_number", "batch", "context", "fresh", "slow", "steps")

    def __init__(self) -> None:
        self.batch = 0
        self.context = 0
        self.steps = 0
        self.slow = 0
        self.fresh: list[Request] = []
        self._ends: list[tuple[int, int, Request]] = []
        self._members: dict[Request, None] = {}  # the youngest last
        self._number = 0

    def join(self, request: Request, context: int) -> None:
        """From the next step on, which reads ``context`` tokens of it."""
        request.joined_count = self.steps
        request.joined_context = context
        request.end = self.steps + request.left
        self._number += 1
        request.ticket = self._number
        heapq.heappush(self._ends, (request.end, self._number, request))
        self._members[request] = None
        self.batch += 1
        self.context += context
        if request.first_token != request.first_token:
            self.fresh.append(request)
        else:
            request.slow_mark = self.slow

    def advance(self, steps: int, slow: int, first_ends: Seconds, first_slow: int) -> list[Request]:
        """``steps`` steps later, ``slow`` of them above the limit, the first of which ended at ``first_ends``
        and was slow or not (1 or 0). Returns who had the first token then: that step was no gap for them."""
        began = self.fresh
        if began:
            self.fresh = []
            mark = self.slow + first_slow
            for request in began:
                request.first_token = first_ends
                request.slow_mark = mark
        self.steps += steps
        self.slow += slow
        self.context += steps * self.batch
        return began

    @property
    def steps_to_next_end(self) -> int:
        """Only with somebody in the batch."""
        ends = self._ends
        while ends[0][2].ticket != ends[0][1]:  # it has left before its end
            heapq.heappop(ends)
        return ends[0][0] - self.steps

    def pop_ended(self) -> list[Request]:
        """Those whose last token has come, by the step that gave it, then as they joined."""
        ends, found = self._ends, []
        while ends and ends[0][0] <= self.steps:
            _, ticket, request = heapq.heappop(ends)
            if request.ticket == ticket:
                found.append(request)
        return found

    def leave(self, request: Request) -> int:
        """Take it out of the batch; what it would have read next, which is one more than it holds."""
        context = request.joined_context + self.steps - request.joined_count
        request.left = request.end - self.steps
        request.ticket = 0
        del self._members[request]
        self.batch -= 1
        self.context -= context
        if request.first_token != request.first_token:
            self.fresh.remove(request)
        else:
            request.slow += self.slow - request.slow_mark
        return context

    @property
    def youngest(self) -> Request:
        return next(reversed(self._members))

    def clear(self) -> list[Request]:
        """All of them, oldest first; the batch is empty then."""
        found = list(self._members)
        for request in found:
            self.leave(request)
        self._ends.clear()
        return found

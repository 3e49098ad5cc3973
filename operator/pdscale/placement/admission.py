"""How many prefill legs an engine has at a time, and who is told at once that it is not worth waiting.

The engine serves what it has been given in its own order, so the order of our queue counts only as long
as little is given to it. Two: one leg computes, the next is handed over and its history pulled meanwhile.
With one, the engine would stand still between legs; each further one is one more that a short leg has to
wait for. Where prompts are far below the engine's token budget per iteration (8192), more make fuller
iterations.

A leg's end is predicted as: the engine's present work, then what the queue puts ahead of it, then itself.
Work is what the legs were predicted to take; when legs end early, the prediction is drawn in.
"""

from dataclasses import dataclass, field

from pdscale.model.units import Seconds
from pdscale.placement.ordering import PrefillLeg, Queue
from pdscale.placement.policy import Busy, BusyReason


@dataclass(slots=True)
class Admission:
    """``offer`` each leg, then take ``next`` until there is none; ``ended`` whatever became of it.

    ``most_waiting`` bounds memory: prompts wait as a whole, and 1024 long ones are some hundred MiB.
    """

    queue: Queue
    at_once: int = 2
    most_waiting: int = 1024
    reject_late: bool = False
    _admitted: dict[PrefillLeg, None] = field(default_factory=dict)
    _until: Seconds = 0.0

    def __post_init__(self) -> None:
        for name in ("at_once", "most_waiting"):
            if getattr(self, name) < 1:
                raise ValueError(f"admission.{name} must be at least 1, got {getattr(self, name)}")

    def offer(self, leg: PrefillLeg, now: Seconds) -> Busy | None:
        """Queue a leg, or say why not."""
        if len(self.queue) >= self.most_waiting:
            return Busy(BusyReason.QUEUE_FULL, 429)
        if self.reject_late and self.done_at(leg, now) > leg.deadline:
            return Busy(BusyReason.TOO_LATE, 429)
        self.queue.push(leg)
        return None

    def next(self, now: Seconds) -> PrefillLeg | None:
        """The leg to give to the engine now, if there is one and room for it."""
        if len(self._admitted) >= self.at_once or not self.queue:
            return None
        leg = self.queue.pop(max(now, self._until))  # it begins when what is there is through
        self._admitted[leg] = None
        self._until = max(self._until, now) + leg.seconds
        return leg

    def ended(self, leg: PrefillLeg, now: Seconds) -> None:
        """It is done, has failed, or nobody waits for it any more; it may still be queued."""
        if leg not in self._admitted:
            self.queue.discard(leg)
            return
        del self._admitted[leg]
        self._until = min(self._until, now + sum(other.seconds for other in self._admitted))

    def done_at(self, leg: PrefillLeg, now: Seconds) -> Seconds:
        """When a leg that arrives now would be through."""
        return max(now, self._until) + self.queue.ahead(leg) + leg.seconds

    def backlog(self, now: Seconds) -> Seconds:
        """What a leg that comes now would wait for: work on the engine, and what presses in the queue."""
        return max(0.0, self._until - now) + self.queue.pressing

    @property
    def admitted(self) -> int:
        return len(self._admitted)

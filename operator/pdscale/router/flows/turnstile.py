"""Where prefill legs wait in front of an engine: the queue's order by ``Admission``, the waiting here.

A leg waits before anything of it has run, so no KV is on a lease meanwhile; a caller that leaves takes its
place in the queue with it.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from pdscale.model.units import Seconds
from pdscale.placement.admission import Admission
from pdscale.placement.ordering import PrefillLeg
from pdscale.placement.policy import Busy


@dataclass(slots=True)
class Turnstile:
    """``enter`` before a leg goes to the engine, ``leave`` once it has ended, however it ended."""

    admission: Admission
    clock: Callable[[], Seconds]
    _waiting: dict[PrefillLeg, asyncio.Future[None]] = field(default_factory=dict)

    async def enter(self, leg: PrefillLeg) -> Busy | None:
        """Returns when the leg may go, or at once with why it may not; a refused leg must not ``leave``."""
        busy = self.admission.offer(leg, self.clock())
        if busy is not None:
            return busy
        if self._admit(leg):
            return None
        turn = self._waiting[leg] = asyncio.get_running_loop().create_future()
        try:
            await turn
        except asyncio.CancelledError:
            self.leave(leg)
            raise
        return None

    def leave(self, leg: PrefillLeg) -> None:
        self._waiting.pop(leg, None)
        self.admission.ended(leg, self.clock())
        self._admit()

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def _admit(self, arrived: PrefillLeg | None = None) -> bool:
        """Let in who may go; whether the one that has just ``arrived`` is among them."""
        now, goes = self.clock(), False
        while (leg := self.admission.next(now)) is not None:
            if leg is arrived:
                goes = True
                continue
            turn = self._waiting.pop(leg)
            if not turn.done():  # else its caller is leaving and will say so
                turn.set_result(None)
        return goes

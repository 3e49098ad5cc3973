"""What is open now, and since when nothing is: what a drain waits for."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from pdscale.model.units import Seconds


@dataclass(slots=True)
class Traffic:
    clock: Callable[[], Seconds]
    open: int = 0
    last_end: Seconds = 0.0
    draining: bool = False

    def begin(self) -> None:
        self.open += 1

    def end(self) -> None:
        self.open -= 1
        self.last_end = self.clock()

    async def drained(self, *, quiet: Seconds, within: Seconds) -> bool:
        """Wait until nothing has been open for ``quiet`` seconds; false if that took too long."""
        began = self.clock()
        while (now := self.clock()) - began < within:
            if not self.open and now - max(self.last_end, began) >= quiet:
                return True
            await asyncio.sleep(min(0.05, within))
        return not self.open

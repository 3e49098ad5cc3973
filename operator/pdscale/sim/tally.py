"""What a decode replica has done: time, tokens, and the pace of its streams.

Gaps between tokens are as many as tokens, so they are summed up and told to the window every half second: the
window's slots are a second, and a call per iteration would cost more than the iteration.
"""

from typing import Final

from pdscale.model.units import Seconds
from pdscale.placement.window import SlidingMean

_TELL_EVERY: Final[Seconds] = 0.5


class Tally:
    """``busy`` seconds of computing, prompt tokens ``computed``, answers' tokens ``generated``; ``itl`` is
    the mean of the ``gaps`` that took ``gap_seconds``, up to half a second late."""

    __slots__ = (
        "_told",
        "_told_at",
        "_told_seconds",
        "busy",
        "computed",
        "gap_seconds",
        "gaps",
        "generated",
        "itl",
        "preemptions",
    )

    def __init__(self) -> None:
        self.itl = SlidingMean()
        self.busy: Seconds = 0.0
        self.computed = 0
        self.generated = 0
        self.preemptions = 0
        self.gaps = 0  # between tokens
        self.gap_seconds: Seconds = 0.0
        self._told = 0  # of the gaps are in ``itl``
        self._told_seconds: Seconds = 0.0
        self._told_at: Seconds = 0.0

    def passed(self, seconds: Seconds, steps: int, batch: int, at: Seconds) -> None:
        """``steps`` iterations of ``batch`` streams took ``seconds`` and ended ``at`` that instant."""
        tokens = steps * batch
        self.busy += seconds
        self.generated += tokens
        self.gaps += tokens
        self.gap_seconds += seconds * batch
        if at - self._told_at > _TELL_EVERY:
            self._tell(at)

    def _tell(self, at: Seconds) -> None:
        self._told_at = at
        gaps = self.gaps - self._told
        if gaps:
            self.itl.add((self.gap_seconds - self._told_seconds) / gaps, now=at, weight=gaps)
        self._told, self._told_seconds = self.gaps, self.gap_seconds

"""How long sessions pause between two rounds, and how many of them are alive, as one sidecar sees it.

A round that ended leaves its KV on this engine for the session's next one. For how long that is worth memory
follows from the pauses: a histogram of them is the source of vLLM's ``decoder_kv_blocks_ttl``. And how many
sessions would lose their KV with this engine is what a victim of a scale-down is chosen by.

Only pauses that ended here are seen: a session that never came back, or went elsewhere, has no pause. So a
quantile of these is one of the rounds that do come, which is what a pinned history is for.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Final

from pdscale.model.units import Seconds

LIVE: Final[Seconds] = 300.0  # without a round for longer than this, a session counts as over


def _ignored(_: Seconds) -> None: ...


@dataclass(slots=True)
class SessionGaps:
    """``tell`` hears each pause; at most ``capacity`` sessions are known, the longest silent go first."""

    tell: Callable[[Seconds], None] = _ignored
    capacity: int = 100_000
    _ended: OrderedDict[str, Seconds] = field(default_factory=OrderedDict)
    _open: dict[str, int] = field(default_factory=dict)

    def began(self, session: str, now: Seconds) -> None:
        """A round arrived; beside one that is still open it ends no pause."""
        ended = self._ended.pop(session, None)
        if ended is not None:
            self.tell(max(0.0, now - ended))
        self._open[session] = self._open.get(session, 0) + 1

    def ended(self, session: str, now: Seconds, *, answered: bool) -> None:
        """One that got no answer leaves nothing here to come back for."""
        left = self._open.get(session, 0) - 1
        if left > 0:
            self._open[session] = left
            return
        self._open.pop(session, None)
        if answered:
            self._ended[session] = now
            if len(self._ended) > self.capacity:
                self._ended.popitem(last=False)

    def live(self, now: Seconds) -> int:
        """Sessions with an open round, or whose last one ended less than ``LIVE`` ago."""
        lately = takewhile(lambda at: now - at < LIVE, reversed(self._ended.values()))
        return len(self._open) + sum(1 for _ in lately)

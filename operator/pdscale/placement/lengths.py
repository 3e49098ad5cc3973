"""How long a session's history is and how much of a prompt is new, without a tokenizer.

The history is what the engine reported for the session's last round (prompt plus completion). The
increment is estimated from the growth of the request's body, times a tokens-per-byte figure learned
from the engine's own counts. Placement needs it near a threshold only, not to the token.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from pdscale.model.units import Seconds, Tokens

_LEARNING: Final = 0.1  # weight of the newest observation
_LEAST, _MOST = 0.01, 2.0  # tokens per byte: beyond these it is not text (images, embedded files)


class Known(NamedTuple):
    """A session's last round."""

    body_bytes: int
    completion: Tokens
    total: Tokens
    at: Seconds


class Estimate(NamedTuple):
    history: Tokens
    increment: Tokens


@dataclass(slots=True)
class Lengths:
    """Per session what is known; bounded by number (least recently used go) and by idle time."""

    capacity: int = 100_000
    idle: Seconds = 3600.0
    tokens_per_byte: float = 0.25
    _known: OrderedDict[str, Known] = field(default_factory=OrderedDict)

    def estimate(self, session: str, body_bytes: int, *, now: Seconds) -> Estimate:
        known = self._known.get(session)
        if known is None or now - known.at > self.idle or body_bytes < known.body_bytes:
            return Estimate(0.0, max(1.0, body_bytes * self.tokens_per_byte))
        # The body grew by the last answer, which is history already, and by what is new.
        grown = (body_bytes - known.body_bytes) * self.tokens_per_byte
        return Estimate(known.total, max(1.0, grown - known.completion))

    def learn(
        self, session: str, body_bytes: int, *, prompt: Tokens, completion: Tokens, now: Seconds
    ) -> None:
        self._known[session] = Known(body_bytes, completion, prompt + completion, now)
        self._known.move_to_end(session)
        if len(self._known) > self.capacity:
            self._known.popitem(last=False)
        if body_bytes > 0 and prompt > 0:
            seen = min(max(prompt / body_bytes, _LEAST), _MOST)
            self.tokens_per_byte += _LEARNING * (seen - self.tokens_per_byte)

    def forget(self, session: str) -> None:
        """What it is said to have is not its own any more."""
        self._known.pop(session, None)

    def __len__(self) -> int:
        return len(self._known)

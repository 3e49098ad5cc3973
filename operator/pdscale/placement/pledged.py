"""Prefill work that this decider has sent to replicas and that their last load reports cannot contain.

Loads are up to a second old. Without this, all rounds of that second would go to the replica that
looked quietest at its beginning: the herding that a random choice avoids by ignoring load altogether.
What other deciders send in the meantime stays unknown.

Whoever asks for a load and then decides sends *after* that load was told, at the same instant if asking takes
no time, as in the simulator: what is sent at the instant of a report is not in it.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from pdscale.model.units import Seconds

# Loads are asked for after a second of silence. A replica that has not spoken for five of them is known
# by nothing anyway, and what was sent to it then is long done or long failed.
_LONGEST: Final[Seconds] = 5.0
_MOST_NAMES: Final = 1024


@dataclass(slots=True)
class _Sent:
    """(when, seconds of work), oldest first, and the sum."""

    each: deque[tuple[Seconds, Seconds]] = field(default_factory=deque)
    total: Seconds = 0.0

    def drop_before(self, at: Seconds) -> None:
        while self.each and self.each[0][0] < at:
            self.total -= self.each.popleft()[1]


@dataclass(slots=True)
class Pledged:
    """Per replica what it has been sent and has not reported."""

    _sent: dict[str, _Sent] = field(default_factory=dict)

    def note(self, endpoint: str, work: Seconds, *, now: Seconds) -> None:
        if len(self._sent) >= _MOST_NAMES:
            self._forget(now)
        sent = self._sent.setdefault(endpoint, _Sent())
        sent.drop_before(now - _LONGEST)
        sent.each.append((now, work))
        sent.total += work

    def after(self, rows: Mapping[str, int], since: Sequence[Seconds]) -> dict[int, Seconds]:
        """By row, what each replica was sent from the time on that stands for it in ``since``; no zeros."""
        found, spoken = {}, []
        for name, sent in self._sent.items():
            row = rows.get(name)
            if row is None:
                continue
            if sent.each[0][0] >= since[row]:
                found[row] = sent.total
            else:
                spoken.append((name, row))
        for name, row in spoken:
            if work := self.seconds(name, since[row]):
                found[row] = work
        return found

    def seconds(self, endpoint: str, since: Seconds) -> Seconds:
        """What was sent from ``since`` on; what was sent before is in the replica's own figure."""
        sent = self._sent.get(endpoint)
        if sent is None:
            return 0.0
        if sent.each[0][0] < since:
            sent.drop_before(since)
            if not sent.each:
                del self._sent[endpoint]
                return 0.0
        return sent.total

    def __len__(self) -> int:
        return len(self._sent)

    def _forget(self, now: Seconds) -> None:
        """Replicas that are gone are never asked about again."""
        self._sent = {name: sent for name, sent in self._sent.items() if sent.each[-1][0] >= now - _LONGEST}

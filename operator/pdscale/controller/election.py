"""Who may write: the rules of the election, without I/O and with the clock as an argument.

A candidate takes a Lease that nobody holds, that is its own, or that has stayed the same for longer than its
holder promised, measured by the candidate's own clock: clocks of two machines are never compared. A holder
stops writing when two thirds of the lease have passed since it *sent* its last successful renewal. The last
third is for requests that are under way when a process is frozen.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pdscale.kube.lease import Lease
from pdscale.model.units import Seconds

LEASE: Final = 10  # whole seconds, as the API has it
RENEW_EVERY: Final[Seconds] = 2.0
LOOK_EVERY: Final[Seconds] = 1.0
WRITING: Final = 2 / 3  # share of the lease in which its holder writes


@dataclass(slots=True)
class Sight:
    """How long a Lease has been as it is, as far as this candidate has seen."""

    _marks: tuple[str, str] | None = None
    _since: Seconds = 0.0

    def free_in(self, lease: Lease, identity: str, now: Seconds) -> Seconds:
        """Seconds until this candidate may take the Lease; zero or less means now."""
        marks = (lease.holder, lease.renewed)
        if marks != self._marks:
            self._marks, self._since = marks, now
        if lease.holder in ("", identity):
            return 0.0
        return self._since + (lease.seconds or LEASE) - now


@dataclass(frozen=True, slots=True)
class Writer:
    """Who writes, and in which term: the count of changes of the holder."""

    holder: str
    term: int


@dataclass(slots=True)
class Tenure:
    """Until when this process may write. Asked before every write."""

    clock: Callable[[], Seconds]
    identity: str
    _until: Seconds = -math.inf
    _term: int = 0

    def extend(self, lease: Lease, *, sent: Seconds) -> None:
        """The Lease was taken or renewed by a request that was sent at ``sent``."""
        self._until, self._term = sent + WRITING * lease.seconds, lease.transitions

    def end(self) -> None:
        self._until = -math.inf

    def left(self) -> Seconds:
        """Seconds in which writes are allowed; zero or less means none."""
        return self._until - self.clock()

    @property
    def writer(self) -> Writer:
        return Writer(self.identity, self._term)

"""What an engine asks of whatever moves its KV, be it vLLM's connector or SGLang's rooms.

Pure, like the engine: what must be sent to other engines is put into ``errands``, which the shell empties.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from pdscale.emulator.sequence import Request, Sequence
from pdscale.model.units import Seconds


class EngineDied(RuntimeError):
    """A request killed the engine, as it would kill a real one. The process must end."""


@dataclass(slots=True)
class Progress:
    """What became of requests while nobody computed. All but ``loaded`` are names."""

    loaded: list[Sequence] = field(default_factory=list)  # KV has arrived: may run
    met: list[str] = field(default_factory=list)  # the other leg is here: may queue
    sent: list[str] = field(default_factory=list)  # KV has left: may be answered
    failed: list[str] = field(default_factory=list)


class Transfers(Protocol):
    """One request's life: ``expect``, ``connect``, then ``keep`` at a good end or ``drop`` at any other."""

    errands: list[Any]

    @property
    def reuses_prefixes(self) -> bool:
        """Whether prompts may use what earlier ones left in the cache."""

    @property
    def recomputes(self) -> bool:
        """Whether a request whose KV could not be read computes it instead of failing."""

    @property
    def answers_when_sent(self) -> bool:
        """Whether a request is answered only when the KV that it left has moved."""

    @property
    def loading(self) -> int:
        """Requests whose KV is on its way, or promised."""

    @property
    def next_event(self) -> Seconds | None: ...

    def expect(self, request: Request, now: Seconds) -> bool:
        """A new request. False if it may not queue yet."""

    def connect(self, sequence: Sequence, have: int) -> int:
        """A request got memory: start to load what it lacks; return how many tokens that is."""

    def keep(self, sequence: Sequence, now: Seconds) -> Mapping[str, Any] | None:
        """A request ended well: what the next leg is told, or None if its blocks may go free."""

    def drop(self, sequence: Sequence) -> None:
        """A request is over: give up what it would still have read."""

    def withdraw(self, request: str) -> None:
        """Nobody waits any more for the answer of a request whose KV is being sent."""

    def lose(self, request: str) -> Sequence | None:
        """The KV of a request could not be read: the sequence that is left without, unless it is gone."""

    def advance(self, now: Seconds) -> Progress: ...

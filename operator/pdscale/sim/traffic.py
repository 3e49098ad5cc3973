"""What clients will do, as columns: a day has a million rounds.

Closed loop: a session's next round begins its wait (a person thinks, a tool runs) after the answer before it
ended, whenever that is. Only starts of sessions have instants of their own, so more load means sessions that
start sooner after one another, with unchanged waits. ``workload`` makes sessions out of traces.
"""

from array import array
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from pdscale.model.units import Seconds
from pdscale.workload.sessions import Round, Session

LAST: Final = -1  # in ``following``: the session ends with this round


@dataclass(frozen=True, slots=True)
class Traffic:
    """Round i belongs to session ``session[i]`` of ``names`` and has lengths in tokens as ``workload.Round``.

    ``begins[i]`` is an instant for first rounds and a wait for later ones. Rounds of a session stand one
    behind the other; ``following[i]`` is the next one or ``LAST``. ``heads`` are first rounds by start, then
    by name: the order in which sessions were listed decides nothing.
    """

    names: tuple[str, ...]
    session: "array[int]"
    begins: "array[float]"
    prompt: "array[int]"
    history: "array[int]"
    common: "array[int]"
    output: "array[int]"
    following: "array[int]"
    heads: "array[int]"

    @staticmethod
    def of(sessions: Iterable[Session]) -> "Traffic":
        """Sessions without rounds are left out. An answer of 0 tokens has 1 here: an engine gives no less."""
        names: list[str] = []
        owner, begins = array("q"), array("d")
        prompt, history, common, output, following = (array("q") for _ in range(5))
        heads: list[int] = []
        for session in sessions:
            if not session.rounds:
                continue
            if not session.start >= 0:
                raise ValueError(f"session {session.key}: start must be at least 0s, got {session.start}s")
            heads.append(len(owner))
            for number, asked in enumerate(session.rounds):
                _judge(f"session {session.key}, round {number}", asked)
                owner.append(len(names))
                begins.append(asked.wait if number else session.start)
                prompt.append(asked.prompt)
                history.append(asked.history)
                common.append(asked.common)
                output.append(max(1, asked.output))
                following.append(len(owner) if number + 1 < len(session.rounds) else LAST)
            names.append(session.key)
        if len(set(names)) != len(names):
            raise ValueError(
                f"sessions must have different keys, got {len(names) - len(set(names))} repeated"
            )
        heads.sort(key=lambda i: (begins[i], names[owner[i]]))
        return Traffic(
            tuple(names), owner, begins, prompt, history, common, output, following, array("q", heads)
        )

    def at_load(self, factor: float) -> "Traffic":
        """The same sessions, starting ``factor`` times as fast. Waits stay: people do not think faster."""
        if not factor > 0:
            raise ValueError(f"load factor must be above 0, got {factor}")
        begins = array("d", self.begins)
        for i in self.heads:
            begins[i] /= factor
        return replace(self, begins=begins)

    @property
    def last_start(self) -> Seconds:
        """When the last session starts; 0 without sessions."""
        return self.begins[self.heads[-1]] if self.heads else 0.0

    def is_alone(self, index: int) -> bool:
        """Whether a round is its session's only one."""
        first = index == 0 or self.session[index - 1] != self.session[index]
        return first and self.following[index] == LAST

    def __len__(self) -> int:
        """Rounds."""
        return len(self.session)


def _judge(where: str, asked: Round) -> None:
    if asked.prompt < 1:
        raise ValueError(f"{where}: prompt must be at least 1 token, got {asked.prompt}")
    if asked.output < 0:
        raise ValueError(f"{where}: output must be known and at least 0 tokens, got {asked.output}")
    if asked.history < 0 or asked.common < 0 or asked.history + asked.common >= asked.prompt:
        raise ValueError(
            f"{where}: history and common must be at least 0 and together below the prompt of {asked.prompt} "
            f"tokens, got {asked.history} and {asked.common}"
        )
    if not asked.wait >= 0:
        raise ValueError(f"{where}: wait must be at least 0s, got {asked.wait}s")

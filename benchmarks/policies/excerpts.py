"""What of a trace is replayed: sessions cut to the model's window, a draw of them per seed, paced to a load.

Lengths stay as recorded, except that a first prompt is cut at ``root`` tokens and a session ends where its
context would leave the window: a scale would shrink the increments, which are what placement is about. Waits
are divided by one figure, so that their median is ``wait`` seconds, and cut at ``longest_wait``: a replay of
a minute would otherwise see first rounds only. Engines, limits and the router's own times are not compressed.

Development and report never see the same sessions: of a trace with a clock the one has the first half and
the other the second, of one without a clock each has those of one parity of their name's checksum.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import median
from typing import Final
from zlib import crc32

from benchmarks.policies.recorded import Recorded, Turn

_STEP: Final = 3.0  # seconds, in which the real traces' timestamps advance: arrivals are spread over it


class Half(StrEnum):
    DEVELOPMENT = "development"
    REPORT = "report"


@dataclass(frozen=True, slots=True)
class Shape:
    """Tokens and seconds; ``past`` is how long before the replay sessions may have begun. ``pace`` 2 is for
    engines that take twice the usual time, in the guess at how far those have come."""

    root: int = 16384
    window: int = 32768
    longest_answer: int = 1024
    wait: float = 5.0
    longest_wait: float = 20.0
    past: float = 90.0
    pace: float = 1.0


@dataclass(frozen=True, slots=True)
class Planned:
    """A session of the replay, which begins at ``start``.

    One that had begun before the replay is *joined*: its first turn brings all that came before, which
    nobody has in a cache. No recorded request is like that one, so it loads the engines and is not judged.
    """

    name: str
    start: float
    turns: tuple[Turn, ...]
    joined: bool = False


def fitted(recorded: Sequence[Recorded], shape: Shape) -> list[Recorded]:
    waits = [turn.wait for session in recorded for turn in session.turns[1:] if turn.wait > 0]
    divisor = max(1.0, median(waits) / shape.wait) if waits else 1.0
    return [_fit(session, shape, divisor) for session in recorded]


def half_of(sessions: Sequence[Recorded], half: Half) -> list[Recorded]:
    second = half is Half.REPORT
    if sessions[0].start is None:
        return [s for s in sessions if (crc32(s.name.split(".")[0].encode()) % 2 == 1) is second]
    middle = len(sessions) // 2
    return list(sessions[middle:] if second else sessions[:middle])


def draw(
    sessions: Sequence[Recorded], shape: Shape, *, rate: float, seconds: float, seed: int
) -> list[Planned]:
    """``rate`` sessions per second begin on average; those that began before 0 are in their later rounds.

    With a clock, consecutive sessions of the trace with their bursts; without one, any, at any time.
    """
    rng, span = random.Random(seed), shape.past + seconds
    count = min(len(sessions), max(1, round(rate * span)))
    if sessions[0].start is None:
        chosen = rng.sample(sessions, count)
        starts = [rng.uniform(-shape.past, seconds) for _ in chosen]
    else:
        first = rng.randrange(len(sessions) - count + 1)
        chosen = list(sessions[first : first + count])
        times = [(s.start or 0.0) + rng.uniform(0, _STEP) for s in chosen]
        low, wide = min(times), max(times) - min(times) or 1.0
        starts = [(t - low) / wide * span - shape.past for t in times]
    planned = [_joined(s, start, shape.pace) for s, start in zip(chosen, starts, strict=True)]
    return sorted((p for p in planned if p is not None), key=lambda p: (p.start, p.name))


def _fit(session: Recorded, shape: Shape, divisor: float) -> Recorded:
    turns: list[Turn] = []
    context = 0
    for turn in session.turns:
        added = turn.added if turns else min(turn.added, shape.root)
        answer = min(turn.answer, shape.longest_answer)
        context += added + answer
        if context > shape.window - 64:  # a template's words are tokens, too
            break
        turns.append(Turn(added, answer, min(turn.wait / divisor, shape.longest_wait)))
    return Recorded(session.name, session.start, tuple(turns))


def _joined(session: Recorded, start: float, pace: float) -> Planned | None:
    """The session from the first turn at or after 0, by a guess at how long the earlier ones took."""
    history = 0
    for number, turn in enumerate(session.turns):
        start += turn.wait
        if start >= 0:
            first = Turn(history + turn.added, turn.answer, 0.0)
            return Planned(session.name, start, (first, *session.turns[number + 1 :]), joined=number > 0)
        history += turn.added + turn.answer
        start += pace * (0.5 + 0.025 * turn.answer)
    return None

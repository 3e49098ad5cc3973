"""Closed-loop clients: a session sends its next round its wait after the answer, whatever others do.

A client notes when it should have sent, when it did, and when each token came. It is on bare protocols: with
a framework the clients would take more of the machine than what they measure.
"""

import asyncio
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from random import Random
from typing import Final

from benchmarks.policies.excerpts import Planned
from benchmarks.policies.recorded import Turn
from benchmarks.router.connection import LoadFailed, dial

_TOKEN: Final = b'"delta":{"content"'
_CONTENT: Final = re.compile(rb'"content":"([^"]*)"')
_WORD: Final = 5  # bytes, with its space: the same as of the emulated engine's answers


@dataclass(frozen=True, slots=True)
class Outcome:
    """One request. ``gaps`` are the seconds between its tokens; without a whole answer ``why`` says so."""

    due: float
    late: float
    judged: bool
    ttft: float | None = None
    gaps: tuple[float, ...] = ()
    why: str = ""


@dataclass(slots=True)
class Clients:
    """``port`` is the front's. No request begins after ``until`` (loop time); what is open ``patience``
    seconds later has failed."""

    port: int
    label: str
    until: float
    patience: float
    outcomes: list[Outcome] = field(default_factory=list)
    _text: bytes = b""

    def __post_init__(self) -> None:
        rng = Random(7)
        self._text = b" ".join(b"w%03x" % rng.randrange(4096) for _ in range(1 << 17)) + b" "

    async def run(self, sessions: Sequence[Planned], *, began: float) -> None:
        talks = [asyncio.ensure_future(self._talk(s, began + s.start)) for s in sessions]
        if not talks:
            return
        _, late = await asyncio.wait(
            talks, timeout=self.until + self.patience - asyncio.get_running_loop().time()
        )
        for talk in late:
            talk.cancel()
        for ended in await asyncio.gather(*talks, return_exceptions=True):
            if isinstance(ended, Exception):
                raise ended

    async def _talk(self, session: Planned, due: float) -> None:
        clock, name = asyncio.get_running_loop().time, f"{self.label}-{session.name}"
        said = b'{"role":"user","content":"%b ' % name.encode()
        for number, turn in enumerate(session.turns):
            due += turn.wait
            if due > self.until:
                return
            await asyncio.sleep(due - clock())
            said += b'%b"}' % self._words(turn.added, name, number)
            judged = number > 0 or not session.joined
            answer = await self._ask(name, said, turn, due=due, judged=judged)
            if answer is None:
                return
            said += b',{"role":"assistant","content":"%b"},{"role":"user","content":"' % answer
            due = clock()

    async def _ask(self, name: str, said: bytes, turn: Turn, *, due: float, judged: bool) -> bytes | None:
        clock = asyncio.get_running_loop().time
        body = b'{"model":"bench","stream":true,"ignore_eos":true,"max_tokens":%d,"messages":[%b]}'
        hearing = _Hearing(clock)
        sent = clock()
        try:
            wire = await dial(self.port, hearing)
            try:
                wire.send(_request(name, body % (turn.answer, said)))
                status = await hearing.over
            finally:
                hearing.closed = True
                wire.close()
        except (OSError, LoadFailed) as error:
            self.outcomes.append(Outcome(due, sent - due, judged, why=repr(error)))
            return None
        except asyncio.CancelledError:
            self.outcomes.append(Outcome(due, sent - due, judged, why="no whole answer in time"))
            raise
        answer = b"".join(_CONTENT.findall(bytes(hearing.body)))
        times = hearing.times
        why = "" if status == 200 and len(times) == turn.answer else f"{status}, {len(times)} tokens"
        gaps = tuple(b - a for a, b in pairwise(times))
        ttft = times[0] - due if times else None
        self.outcomes.append(Outcome(due, sent - due, judged, ttft, gaps, why))
        return None if why else answer

    def _words(self, count: int, name: str, number: int) -> bytes:
        at = Random(f"{name}/{number}").randrange((1 << 17) - count) * _WORD
        return self._text[at : at + count * _WORD - 1]


class _Hearing:
    """One answer: its body, and when each token of it came."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.over: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.body = bytearray()
        self.times: list[float] = []
        self.closed = False
        self._read = 0

    def piece(self, payload: bytes) -> None:
        now = self._clock()
        self.body += payload
        while (at := self.body.find(_TOKEN, self._read)) >= 0:
            self._read = at + len(_TOKEN)
            self.times.append(now)

    def ended(self, status: int) -> None:
        if not self.over.done():
            self.over.set_result(status)

    def lost(self) -> None:
        if not self.closed and not self.over.done():
            self.over.set_exception(LoadFailed("the connection was closed during an answer"))


def _request(session: str, body: bytes) -> bytes:
    return (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
        b"X-Session-ID: %b\r\nContent-Length: %d\r\n\r\n%b" % (session.encode(), len(body), body)
    )

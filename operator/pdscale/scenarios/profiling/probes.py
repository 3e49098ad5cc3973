"""One pass of an engine, measured over its endpoint.

What a client sees of a pass has the engine's tokenizer, its scheduler and HTTP in it; so have the
requests that a profile is used for. Prompts of decode streams are sent once before, so that the streams
begin at about the same time where the engine has a prefix cache, and each has words of its own: engines
read a prefix that streams share only once.
"""

import asyncio
import random
import time
from collections.abc import Coroutine, Iterable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from pdscale.perf.measurements import DecodePoint, PrefillPoint
from pdscale.scenarios.fields import InvalidScenario
from pdscale.scenarios.profiling.client import Answer, Engine
from pdscale.scenarios.profiling.dialect import Dialect
from pdscale.scenarios.profiling.errors import EngineRefused
from pdscale.scenarios.profiling.gaps import Window, steps_of
from pdscale.scenarios.profiling.points import DecodeAsk, PrefillAsk
from pdscale.scenarios.profiling.prompts import Prompts, Scale
from pdscale.scenarios.profiling.rest import still_running

T = TypeVar("T")

SATURATED: Final = 0.9
"""Share of a core from which on this process, not the engine, may set the pace of tokens."""

_SLACK: Final = 256  # tokens that quick engines may be ahead when the last of our streams begins
_CHUNK: Final = 512  # tokens of the smallest passes into which engines cut prompts
_REST: Final = 30.0  # seconds for an engine to end what was broken off


class NoPoint(Exception):
    """A pass that says nothing; the message is a note for the reader."""


@dataclass(slots=True)
class Probe:
    """Measures passes of one engine. ``tokens_per_event`` is above 1 where it speculates."""

    engine: Engine
    dialect: Dialect
    scale: Scale
    rng: random.Random
    repeats: int
    steps: int
    longest: int
    tokens_per_event: float = 1.0
    anyway: bool = False
    _histories: dict[int, str] = field(default_factory=dict)

    async def prefill(self, ask: PrefillAsk) -> PrefillPoint:
        """The repeat of median time, at the lengths that its usage says."""
        await self._at_rest()
        history = await self._history(ask.history)
        found = [await self._first(history + self._words(ask.new)) for _ in range(self.repeats)]
        answer = sorted(found, key=lambda a: a.seconds)[(len(found) - 1) // 2]
        cached = answer.cached or 0
        if cached < ask.history / 2:
            raise NoPoint(f"prefill of {ask.new} after {ask.history}: only {cached} tokens were still cached")
        return PrefillPoint(1, answer.prompt - cached, cached, answer.seconds)

    async def decode(self, ask: DecodeAsk) -> DecodePoint:
        await self._at_rest()
        prompts = [self._words(ask.context) for _ in range(ask.batch)]
        primed = await together(self._first(prompt) for prompt in prompts)
        window = Window(ask.batch, self.steps)
        most = self._most_tokens(ask, max(a.prompt for a in primed))
        clock = asyncio.get_running_loop().time
        cpu, wall = time.thread_time(), clock()
        await together(self._stream(i, prompt, most, window) for i, prompt in enumerate(prompts))
        busy_share = (time.thread_time() - cpu) / max(1e-9, clock() - wall)
        steps = steps_of(window.arrivals)
        if steps is None:
            raise NoPoint(f"{ask.batch} streams of {ask.context} did not run together for long enough")
        if busy_share > SATURATED:
            raise NoPoint(f"{ask.batch} streams of {ask.context}: this process was too slow to read them")
        generated = steps.events * self.tokens_per_event
        context = sum(a.prompt for a in primed) + generated
        return DecodePoint(ask.batch, context, steps.seconds / self.tokens_per_event)

    async def _first(self, prompt: str) -> Answer:
        return await self.dialect.first_token(self.engine, prompt)

    def _words(self, tokens: int) -> str:
        return Prompts(self.rng).words(self.scale.words(tokens))

    async def _history(self, tokens: int) -> str:
        """Text that was sent once; the first use of each length sends it."""
        if not tokens:
            return ""
        if tokens not in self._histories:
            self._histories[tokens] = self._words(tokens) + " "
            await self._first(self._histories[tokens])
        return self._histories[tokens]

    def _most_tokens(self, ask: DecodeAsk, prompt: int) -> int:
        """Enough for the first stream to be there until the last one has begun and been looked at, should
        all prompts be computed again; it is broken off long before that if they are not."""
        wanted = self.steps + _SLACK + ask.batch * (1 + ask.context // _CHUNK)
        return max(2, min(int(wanted * self.tokens_per_event) + 1, self.longest - prompt))

    async def _stream(self, number: int, prompt: str, tokens: int, window: Window) -> None:
        body = self.dialect.body(prompt, tokens=tokens)
        async with aclosing(self.engine.arrivals(self.dialect.path, body)) as arrivals:
            async for at, event in arrivals:
                if event.startswith(b'{"error"'):
                    raise EngineRefused(f"{self.engine.url}: broke a stream off: {event[:200]!r}", 200)
                if window.note(number, at):
                    return

    async def _at_rest(self) -> None:
        """Until what was broken off has ended, the step included that it was in. Whoever else sends requests
        would be measured, too."""
        running = await still_running(self.engine, self._nudge, patience=0.0 if self.anyway else _REST)
        if isinstance(running, int) and running and not self.anyway:
            raise InvalidScenario(
                f"{self.engine.url}: {running} requests that are not ours run there; measure an idle "
                "engine, or say --anyway"
            )
        await self._nudge()

    async def _nudge(self) -> None:
        await self._first(self._words(1))


async def together(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """All results; the first failure ends the others, and they have ended when it is raised."""
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

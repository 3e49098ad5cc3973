"""The measurement as a whole: meet the engine, time transfers, then passes until all are done or time is up.

What was found so far lies in ``Found``, outside of the loop that measures: an interrupted one loses the
pass it was at and nothing else.
"""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from pdscale.model.units import format_duration
from pdscale.perf.measurements import DecodePoint, Measurements, PrefillPoint, TransferPoint
from pdscale.scenarios.fields import InvalidScenario
from pdscale.scenarios.profiling.asked import Asked
from pdscale.scenarios.profiling.client import Engine
from pdscale.scenarios.profiling.errors import EngineGone
from pdscale.scenarios.profiling.meeting import Subject, meet
from pdscale.scenarios.profiling.points import Ask, PrefillAsk, decodes, in_turn, prefills
from pdscale.scenarios.profiling.probes import NoPoint, Probe
from pdscale.scenarios.profiling.prompts import Prompts
from pdscale.scenarios.profiling.transfers import transfers

ENOUGH: Final = 8
"""Points of each kind below which a fit of three coefficients says more of noise than of an engine."""


@dataclass(slots=True)
class Found:
    """Everything measured, in the order in which it was."""

    prefill: list[PrefillPoint] = field(default_factory=list)
    decode: list[DecodePoint] = field(default_factory=list)
    transfers: list[TransferPoint] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    subject: Subject | None = None
    done: int = 0
    total: int = 0

    @property
    def suffices(self) -> bool:
        return min(len(self.prefill), len(self.decode)) >= ENOUGH

    @property
    def said(self) -> str:
        return f"after {self.done} of {self.total} passes"

    def points(self, source: str) -> Measurements:
        return Measurements(source, tuple(self.prefill), tuple(self.decode))


async def measure(asked: Asked, found: Found, tell: Callable[[int, int], None]) -> None:
    """Fills ``found``. An engine that dies ends it all: its last answers are not to be trusted either."""
    rng = random.Random(asked.seed)
    headers = asked.headers
    async with Engine(asked.url, headers) as engine, Engine(asked.prefill_url or asked.url, headers) as peer:
        subject = found.subject = await meet(engine, asked, rng)
        found.notes += subject.notes
        asks = planned(asked, subject, rng)
        found.total = len(asks)
        probe = _probe(engine, asked, subject, rng)
        try:
            async with asyncio.timeout(asked.budget):
                if asked.prefill_url is not None:
                    found.transfers += await transfers(
                        peer, engine, subject, Prompts(rng), repeats=asked.repeats
                    )
                for ask in asks:
                    tell(found.done, found.total)
                    await _measured(probe, ask, found)
                    found.done += 1
        except TimeoutError:
            found.notes.append(f"the budget of {format_duration(asked.budget)} was over {found.said}")
        except EngineGone as error:
            raise EngineGone(f"{error} ({found.said})") from error


def planned(asked: Asked, subject: Subject, rng: random.Random) -> list[Ask]:
    bounds = subject.bounds
    prefill = prefills(bounds, prompts=asked.prompts, histories=asked.histories)
    batches = [b for b in asked.batches if b <= asked.max_sequences]
    decode = decodes(bounds, batches=batches, contexts=asked.contexts, steps=asked.steps)
    for flags, asks in (("--prompts, --histories", prefill), ("--batches, --contexts", decode)):
        if len(asks) < ENOUGH:
            raise InvalidScenario(
                f"{flags}: leave {len(asks)} points within contexts of {bounds.longest} and KV memory of "
                f"{bounds.kv_tokens} tokens; a fit needs at least {ENOUGH}, so name more or shorter ones"
            )
    return in_turn(prefill, decode, rng)


def _probe(engine: Engine, asked: Asked, subject: Subject, rng: random.Random) -> Probe:
    return Probe(
        engine,
        subject.dialect,
        subject.scale,
        rng,
        repeats=asked.repeats,
        steps=asked.steps,
        longest=subject.bounds.longest,
        tokens_per_event=subject.tokens_per_event,
        anyway=asked.anyway,
    )


async def _measured(probe: Probe, ask: Ask, found: Found) -> None:
    try:
        if isinstance(ask, PrefillAsk):
            found.prefill.append(await probe.prefill(ask))
        else:
            found.decode.append(await probe.decode(ask))
    except NoPoint as note:
        found.notes.append(str(note))

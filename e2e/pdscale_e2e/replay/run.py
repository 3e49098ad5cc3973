"""Open-loop replay: requests leave when the trace says, whatever became of the earlier ones."""

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import aiohttp

from pdscale_e2e.replay.client import Outcome, ask, prompt
from pdscale_e2e.replay.trace import Request


@dataclass(slots=True)
class Replay:
    """One trace sent to one endpoint. ``outcomes`` fills as requests end."""

    url: str
    model: str
    seed: int = 0
    patience: float = 120.0
    sent: int = 0
    outcomes: list[Outcome] = field(default_factory=list)

    async def run(self, requests: Sequence[Request], *, stopped: Callable[[], bool] = lambda: False) -> None:
        """Send everything; return when the last answer has ended."""
        chance = random.Random(self.seed)
        timeout = aiohttp.ClientTimeout(total=self.patience)
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(timeout=timeout, connector=connector) as http:
            start = time.monotonic()
            async with asyncio.TaskGroup() as group:
                for number, request in enumerate(requests):
                    await asyncio.sleep(max(0.0, start + request.at - time.monotonic()))
                    if stopped():
                        break
                    text = prompt(request.input_tokens, chance)
                    self.sent += 1
                    group.create_task(self._one(http, request, session=f"s{self.seed}-{number}", text=text))

    async def _one(self, http: aiohttp.ClientSession, request: Request, *, session: str, text: str) -> None:
        self.outcomes.append(await ask(http, self.url, request, model=self.model, session=session, text=text))

    @property
    def failed(self) -> list[Outcome]:
        return [o for o in self.outcomes if o.error]

    def attainment(self, *, ttft: float, tpot: float, strict: bool = False) -> float | None:
        """Share of ended requests within both limits; absent before any has ended."""
        if not self.outcomes:
            return None
        judge = Outcome.met_strictly if strict else Outcome.met
        return sum(judge(o, ttft=ttft, tpot=tpot) for o in self.outcomes) / len(self.outcomes)

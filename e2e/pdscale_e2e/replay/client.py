"""A streaming chat client that measures what a user would: first token, gaps between tokens, the end.

aiohttp rather than httpx: a replay holds hundreds of streams on the same two cores as the engines.
"""

import json
import random
import time
from dataclasses import dataclass, field
from typing import Final

import aiohttp

from pdscale_e2e.replay.trace import Request

WORDS: Final = tuple(f"{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in "bdklmnprst")


@dataclass(slots=True)
class Outcome:
    """What became of one request; ``error`` is empty when the answer came whole. Times in seconds."""

    at: float
    ttft: float = 0.0
    total: float = 0.0
    tokens: int = 0
    gaps: list[float] = field(default_factory=list)
    error: str = ""

    @property
    def tpot(self) -> float:
        return (self.total - self.ttft) / (self.tokens - 1) if self.tokens > 1 else 0.0

    def met(self, *, ttft: float, tpot: float) -> bool:
        return not self.error and self.ttft <= ttft and self.tpot <= tpot

    def met_strictly(self, *, ttft: float, tpot: float) -> bool:
        """Also at most a tenth of the gaps above the limit: a mean hides stalls."""
        late = sum(gap > tpot for gap in self.gaps)
        return self.met(ttft=ttft, tpot=tpot) and late <= 0.1 * len(self.gaps)


def prompt(tokens: int, chance: random.Random) -> str:
    """Text that the emulated engine counts as about ``tokens`` tokens, unlike any other."""
    return " ".join(chance.choices(WORDS, k=max(1, tokens - 4)))  # the chat template adds four


async def ask(
    http: aiohttp.ClientSession, url: str, request: Request, *, model: str, session: str, text: str
) -> Outcome:
    """Send one request and read its stream to the end. Never raises for what the server did."""
    outcome = Outcome(at=request.at)
    body = {
        "model": model,
        "messages": [{"role": "user", "content": text}],
        "max_tokens": request.output_tokens,
        "ignore_eos": True,
        "stream": True,
    }
    started = last = time.perf_counter()
    finished = False
    try:
        async with http.post(
            f"{url}/v1/chat/completions", json=body, headers={"X-Session-ID": session}
        ) as response:
            if response.status != 200:
                outcome.error = f"HTTP {response.status}: {(await response.text())[:200]}"
                return outcome
            async for line in response.content:
                if not line.startswith(b"data: "):
                    continue
                if line.startswith(b"data: [DONE]"):
                    finished = True
                    break
                now = time.perf_counter()
                if b'"content"' in line and _has_text(line):
                    if outcome.tokens == 0:
                        outcome.ttft = now - started
                    else:
                        outcome.gaps.append(now - last)
                    outcome.tokens += 1
                    last = now
                elif b'"error"' in line:
                    outcome.error = line.decode(errors="replace")[:200]
    except (TimeoutError, aiohttp.ClientError, OSError) as error:
        outcome.error = f"{type(error).__name__}: {error}"
    outcome.total = last - started
    if not outcome.error and not finished:
        outcome.error = f"the stream ended after {outcome.tokens} tokens without [DONE]"
    if not outcome.error and outcome.tokens != request.output_tokens:
        outcome.error = f"{outcome.tokens} tokens came, {request.output_tokens} were asked for"
    return outcome


def _has_text(line: bytes) -> bool:
    event = json.loads(line[6:])
    return any(choice.get("delta", {}).get("content") for choice in event.get("choices", ()))

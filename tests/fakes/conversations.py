"""Clients that hold conversations of several rounds, and note how each request ended."""

import asyncio
import json
import random
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

import aiohttp

WORDS = ("one", "word", "follows", "another", "until", "a", "sentence", "is", "long", "enough")


class End(Enum):
    WHOLE = auto()
    CUT = auto()  # a stream that said, once, that there will be no more
    FAILED = auto()


@dataclass(frozen=True)
class Outcome:
    """``at`` is when it ended; ``detail`` is what a failure looks like."""

    end: End
    streamed: bool
    seconds: float
    at: float
    detail: str = ""


@dataclass
class Conversations:
    """``bound`` is what no request may take longer than."""

    url: str
    http: aiohttp.ClientSession
    rng: random.Random
    bound: float
    outcomes: list[Outcome] = field(default_factory=list)

    def ended(self, end: End) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if outcome.end is end]

    async def talk(self, name: str, *, until: float) -> None:
        """One client after the other, each with a session of a few rounds."""
        clock = asyncio.get_running_loop().time
        session = 0
        while clock() < until:
            session += 1
            messages: list[dict[str, str]] = []
            for _ in range(self.rng.randint(1, 4)):
                if clock() >= until:
                    return
                messages.append({"role": "user", "content": self._words(20, 200)})
                said = await self._round(f"{name}-{session}", messages)
                messages.append({"role": "assistant", "content": said})
                await asyncio.sleep(self.rng.uniform(0.02, 0.3))

    async def _round(self, session: str, messages: list[dict[str, str]]) -> str:
        stream = self.rng.random() < 0.6
        body = {
            "model": "fake",
            "messages": messages,
            "max_tokens": self.rng.randint(4, 60),
            "stream": stream,
            "ignore_eos": True,
        }
        clock = asyncio.get_running_loop().time
        began = clock()
        end, said, detail = await self._ask(body, session)
        if detail:
            detail = f"{session}, round {len(messages) // 2 + 1}, stream={stream}: {detail}"
        self.outcomes.append(Outcome(end, stream, clock() - began, clock(), detail))
        return said

    async def _ask(self, body: dict[str, Any], session: str) -> tuple[End, str, str]:
        try:
            async with self.http.post(
                f"{self.url}/v1/chat/completions",
                json=body,
                headers={"X-Session-ID": session},
                timeout=aiohttp.ClientTimeout(total=self.bound),
            ) as answer:
                text = (await answer.read()).decode()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return End.FAILED, "", repr(error)
        if answer.status != 200:
            return End.FAILED, "", f"{answer.status} {text[:300]}"
        if not body["stream"]:
            return End.WHOLE, json.loads(text)["choices"][0]["message"]["content"], ""
        return judge_stream(text)

    def _words(self, least: int, most: int) -> str:
        return " ".join(self.rng.choices(WORDS, k=self.rng.randint(least, most)))


def judge_stream(text: str) -> tuple[End, str, str]:
    """Whole, or tokens and then one error event as its last; anything else is a failure."""
    *parts, rest = text.split("\n\n")
    if rest or not all(part.startswith("data: ") for part in parts):
        return End.FAILED, "", f"not events: {text[-300:]!r}"
    *events, last = [part.removeprefix("data: ") for part in parts]
    read = [json.loads(event) for event in events if event != "[DONE]"]
    if any("error" in event for event in read) or len(read) < len(events):
        return End.FAILED, "", f"something follows the end: {text[-600:]!r}"
    deltas = [c["delta"].get("content") or "" for event in read for c in event["choices"]]
    if last == "[DONE]":
        return End.WHOLE, "".join(deltas), ""
    if "error" in json.loads(last) and read:
        return End.CUT, "".join(deltas), ""
    return End.FAILED, "", f"neither done nor cut: {text[-300:]!r}"

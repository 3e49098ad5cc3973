"""A client of the OpenAI API that keeps all that it is told: tokens, usage, events, whatever comes."""

import asyncio
import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp

from pdscale_e2e.engines.command import SERVED
from pdscale_e2e.engines.weights import PRINTABLE

CHAT: Final = "/v1/chat/completions"
TEXT: Final = "/v1/completions"
GREEDY: Final[Mapping[str, Any]] = {
    "model": SERVED,
    "temperature": 0,
    "ignore_eos": True,
    "return_token_ids": True,
}
_WORDS: Final = (
    "prefill",
    "decode",
    "block",
    "token",
    "lease",
    "queue",
    "round",
    "engine",
    "replica",
    "batch",
)
_PATIENCE: Final = aiohttp.ClientTimeout(total=90)

Messages = list[dict[str, str]]


@dataclass(frozen=True, slots=True)
class Answer:
    """``events`` are all JSON objects of a stream, or the one body; ``text`` is what came, byte by byte."""

    status: int
    events: tuple[dict[str, Any], ...]
    text: str

    @property
    def choices(self) -> list[dict[str, Any]]:
        return [choice for event in self.events for choice in event.get("choices", ())]

    @property
    def tokens(self) -> list[int]:
        return [token for choice in self.choices for token in choice.get("token_ids") or ()]

    @property
    def said(self) -> str:
        parts = (c.get("delta") or c.get("message") or {"content": c.get("text")} for c in self.choices)
        return "".join(part.get("content") or "" for part in parts)

    @property
    def usage(self) -> dict[str, Any]:
        found: dict[str, Any] = next(e["usage"] for e in reversed(self.events) if e.get("usage"))
        return found

    @property
    def cached(self) -> int:
        return int((self.usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0)

    @property
    def handed(self) -> dict[str, Any] | None:
        """Transfer parameters: an engine may hand them out, a router never."""
        return next((e["kv_transfer_params"] for e in self.events if e.get("kv_transfer_params")), None)

    @property
    def ended_well(self) -> bool:
        streamed = self.text.startswith("data: ")
        return self.status == 200 and (not streamed or self.text.rstrip().endswith("data: [DONE]"))


def read_answer(status: int, text: str) -> Answer:
    if text.startswith("data: "):
        events = tuple(json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {"))
        return Answer(status, events, text)
    return Answer(status, (json.loads(text),) if text.startswith("{") else (), text)


@dataclass(slots=True)
class Client:
    """Greedy requests, so that every engine gives the same tokens."""

    http: aiohttp.ClientSession

    def open(
        self,
        url: str,
        path: str,
        body: Mapping[str, Any],
        *,
        session: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """The response itself, for callers that leave half-way."""
        asked = {**GREEDY, **body}
        if asked.get("stream"):
            asked.setdefault("stream_options", {"include_usage": True})
        named = {"X-Session-ID": session} if session else {}
        sent = {**named, **(headers or {})}
        return self.http.post(f"{url}{path}", json=asked, headers=sent, timeout=_PATIENCE)

    async def ask(self, url: str, path: str, body: Mapping[str, Any], *, session: str = "") -> Answer:
        async with self.open(url, path, body, session=session) as answer:
            return read_answer(answer.status, (await answer.read()).decode())

    async def leave_after(
        self, seconds: float, url: str, path: str, body: Mapping[str, Any], session: str
    ) -> None:
        """Send a request and break the connection that much later, wherever it is by then."""
        try:
            async with asyncio.timeout(seconds):
                await self.ask(url, path, body, session=session)
        except TimeoutError:
            pass


def words(count: int, chance: random.Random) -> str:
    """Text of so many words, about seven tokens each; seeded apart, no two begin alike."""
    return " ".join(chance.choices(_WORDS, k=count))


@dataclass(slots=True)
class Conversation:
    """A session: what has been said, and what the next round asks.

    Chats send the answer's text back, as clients do. Completions send token ids, so that the next prompt has
    exactly the tokens that the engine generated.
    """

    name: str
    path: str
    streams: bool
    chance: random.Random
    answer_tokens: int = 12
    messages: Messages = field(default_factory=list)
    prompt: list[int] = field(default_factory=list)

    def next_body(self, *, many: int) -> dict[str, Any]:
        body: dict[str, Any] = {"max_tokens": self.answer_tokens, "stream": self.streams}
        if self.path == CHAT:
            self.messages.append({"role": "user", "content": words(many, self.chance)})
            return body | {"messages": list(self.messages)}
        self.prompt.extend(self.chance.choices(range(PRINTABLE), k=7 * many))
        return body | {"prompt": list(self.prompt)}

    def heard(self, answer: Answer) -> None:
        if self.path == CHAT:
            self.messages.append({"role": "assistant", "content": answer.said})
        else:
            self.prompt.extend(answer.tokens)

"""Whether a round goes on where its session's last one stopped.

A prefill engine takes over as many blocks of history as it is told, and compares no tokens. So a client
that edits or regenerates an earlier message under the same session name would get an answer to what it
had said before. The router therefore hands out a session's history only to a request that begins with
the whole of the session's last request.

The answer in between is not compared: it comes back as the client's own text, and whoever changes it gets
the model's own words instead. Digests are Python's hashes: 64 bits, about a quarter of a nanosecond a byte.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class _Said(NamedTuple):
    length: int  # messages, characters or tokens
    digest: int


@dataclass(slots=True)
class Continuity:
    """What each session's last request said; bounded by number, the least recently used go."""

    capacity: int = 100_000
    _said: OrderedDict[str, _Said] = field(default_factory=OrderedDict)

    def __post_init__(self) -> None:
        if self.capacity < 1:
            raise ValueError(f"capacity must be at least 1, got {self.capacity}")

    def goes_on(self, session: str, body: Mapping[str, Any]) -> bool:
        """False if the session is known and said something else; what is said now is remembered."""
        words = _words(body)
        before = self._said.get(session)
        goes_on = before is None or (
            before.length <= len(words) and hash(words[: before.length]) == before.digest
        )
        self._said[session] = _Said(len(words), hash(words))
        self._said.move_to_end(session)
        if len(self._said) > self.capacity:
            self._said.popitem(last=False)
        return goes_on

    def latest(self, session: str) -> object:
        """A mark of what the session said last: the same object until it says something again."""
        return self._said.get(session)


def _words(body: Mapping[str, Any]) -> tuple[Any, ...] | str:
    """What the prompt is made of, as something whose beginnings can be compared."""
    messages = body.get("messages")
    if isinstance(messages, list):
        return (*_setting(body), *map(_message, messages))
    prompt = body.get("prompt")
    if isinstance(prompt, list) and all(isinstance(token, int) for token in prompt):
        return tuple(prompt)
    return prompt if isinstance(prompt, str) else (repr(prompt),)


def _setting(body: Mapping[str, Any]) -> tuple[str, ...]:
    """What a chat template puts in front of all messages."""
    said = body.get
    return (
        repr(said("model")),
        repr(said("tools")),
        repr(said("documents")),
        repr(said("chat_template_kwargs")),
    )


def _message(message: object) -> object:
    """Role and text as they are; a message that has more to it by all that it has."""
    if isinstance(message, dict) and len(message) == 2:
        role, content = message.get("role"), message.get("content")
        if isinstance(role, str) and isinstance(content, str):
            return role, content
    return repr(message)

"""Sessions of clients that name none: a request continues the one whose messages it begins with.

A chat is sent whole each time, so the messages of round k-1 are the beginning of those of round k; what
follows are the answer, not known when round k-1 was seen, and what is new. Remembered is one *head* per
session: a digest of the messages of its latest request. A request that begins with a head takes the
session over and moves the head.

- A head serves once. Of two requests that continue the same one, the second is a new session: it has another
  history, and KV read as its own would be wrong.
- A head that two requests have in common (thousands of chats begin with "hello") is *shared*: nobody can tell
  whose continuation comes, so nobody inherits. The same goes for a request sent twice.
- ``scope`` separates clients, by a digest of their credentials say: who guesses a prompt must not
  come by its KV.

The answer itself is not compared: who edits it keeps the session. Digests are Python's own hashes, seeded
anew in each process: names made by two processes never meet, and a replica that gets a chat's next round
without having seen the last one takes it for a new chat.

To be fast, a head is looked up by its length and its last three texts, from the end backwards, and only then
checked in full. A new round rarely adds more than an answer, a few tool results and a question.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, Final

_REACH: Final = 32  # messages that one round may add
_TAIL: Final = 3  # "continue" as the 41st message is common; with the two before it hardly
_content = itemgetter("content")


@dataclass(slots=True)
class _Head:
    digest: int
    session: str | None  # None: shared


@dataclass(slots=True)
class PrefixSessions:
    """``prefix`` begins every name, and must differ between processes that share a cluster."""

    prefix: str
    capacity: int = 100_000
    _heads: OrderedDict[int, _Head] = field(default_factory=OrderedDict)
    _named: int = 0

    def __post_init__(self) -> None:
        if self.capacity < 1:
            raise ValueError(f"capacity must be at least 1, got {self.capacity}")

    def session_of(self, messages: Sequence[Mapping[str, Any]], scope: str = "") -> str:
        """The session that these messages continue, or a new one; the head is theirs from now on."""
        texts = _texts(messages)
        whole = hash((scope, texts))
        here = _place(scope, texts, len(texts))
        same = self._heads.get(here)
        if same is not None and same.digest == whole:
            same.session = None
            self._heads.move_to_end(here)
            return self._new()
        session = self._inherited(texts, scope) or self._new()
        self._heads[here] = _Head(whole, session)
        self._heads.move_to_end(here)
        if len(self._heads) > self.capacity:
            self._heads.popitem(last=False)
        return session

    def _inherited(self, texts: tuple[Any, ...], scope: str) -> str | None:
        """From the longest head that these texts begin with."""
        for length in range(len(texts) - 1, max(0, len(texts) - 1 - _REACH), -1):
            place = _place(scope, texts, length)
            head = self._heads.get(place)
            if head is not None and head.digest == hash((scope, texts[:length])):
                if head.session is not None:
                    del self._heads[place]
                return head.session
        return None

    def _new(self) -> str:
        self._named += 1
        return f"{self.prefix}{self._named}"

    def __len__(self) -> int:
        return len(self._heads)


def _place(scope: str, texts: tuple[Any, ...], length: int) -> int:
    return hash((scope, length, texts[max(0, length - _TAIL) : length]))


def _texts(messages: Sequence[Mapping[str, Any]]) -> tuple[Any, ...]:
    """What tells one message from another. Plain texts as they are; whatever else there is, as its repr."""
    try:
        texts = tuple(map(_content, messages))
        hash(texts)
    except (KeyError, TypeError):
        return tuple(_text(message) for message in messages)
    return texts


def _text(message: Mapping[str, Any]) -> str:
    content = message.get("content") if isinstance(message, dict) else None
    return content if isinstance(content, str) else repr(message)

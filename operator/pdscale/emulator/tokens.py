"""The tokeniser and the language model that the emulated engine has instead of real ones.

One token per word between white space, and a chat template of a role word, the words and an end
word per message. What matters is kept: the answer, sent again as an assistant message, becomes the
very tokens that were generated, so that a session's prefix stays in the cache.

The "model" is a hash. ``follow`` condenses what a sequence sees into one number, block by block, and
the next word is a function of it: greedy, equal on every engine and machine, and different as soon
as one token of the KV that was really used differs.
"""

import struct
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from zlib import crc32

Token = int
Context = int
"""What a sequence has seen so far, condensed."""

NOTHING_SEEN: Context = 0

_VOCABULARY = 4096


def token_of(word: str) -> Token:
    return crc32(word.encode())


_WORDS = tuple(f"w{i:03x}" for i in range(_VOCABULARY))
_TOKENS = tuple(token_of(word) for word in _WORDS)
_SPELLING: Mapping[Token, str] = dict(zip(_TOKENS, _WORDS, strict=True))

END_WORD = "<|end|>"
END_OF_TURN: Token = token_of(END_WORD)


def encode(text: str) -> list[Token]:
    return [crc32(word.encode()) for word in text.split()]


def encode_chat(messages: Iterable[tuple[str, str]]) -> list[Token]:
    """(role, content) pairs, then the header of the answer to come."""
    tokens: list[Token] = []
    for role, content in messages:
        tokens.append(_header(role))
        tokens += encode(content)
        tokens.append(END_OF_TURN)
    tokens.append(_header("assistant"))
    return tokens


def spell(token: Token) -> str:
    """The word of a generated token; the end of a turn is silent."""
    return _SPELLING.get(token, "")


def words(tokens: Iterable[Token]) -> str:
    """The text of generated tokens."""
    return " ".join(filter(None, map(spell, tokens)))


def follow(seen: Context, tokens: Sequence[Token]) -> Context:
    """What is seen after ``tokens``, given what was seen before them."""
    packed = struct.pack(f"<Q{len(tokens)}I", seen, *tokens)
    return int.from_bytes(blake2b(packed, digest_size=7).digest(), "little")


def next_token(seen: Context, *, ends_after: int) -> Token:
    """The greedy choice; one in ``ends_after`` choices ends the answer, none if that is 0.

    56 bits: the low 12 choose the word, the others whether to end.
    """
    if ends_after and (seen >> 12) % ends_after == 0:
        return END_OF_TURN
    return _TOKENS[seen % _VOCABULARY]


def _header(role: str) -> Token:
    return token_of(f"<|{role}|>")

"""The head of a peer's answer, parsed by hand, since peers are few, known and regular.

What could be understood in two ways is refused: bare line ends, folded lines, two kinds of framing,
two lengths. Header lines are kept as they came, in order, to be passed on as bytes.
"""

from functools import lru_cache
from typing import Final, NamedTuple

from pdscale.router.wire.errors import Nonsense
from pdscale.router.wire.framing import Chunked, Framing, Length, UntilClose

LARGEST_HEAD: Final = 64 * 1024
_VERSIONS: Final = (b"HTTP/1.1 ", b"HTTP/1.0 ")
_TOKEN: Final = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_BODILESS: Final = (204, 304)
_LONGEST_LENGTH: Final = 15  # decimal digits


_FRAMING: Final = (b"content-length", b"transfer-encoding", b"connection")


class Field(NamedTuple):
    """One header line. ``name`` is in lower case; ``framing`` tells whether it is about the connection."""

    name: bytes
    value: bytes
    framing: bool


@lru_cache(maxsize=1024)
def _field(line: bytes) -> Field:
    """Cached, because peers say the same things over and over."""
    name, colon, value = line.partition(b":")
    if not colon or not name or name.strip(_TOKEN):
        raise Nonsense(f"a header line must be 'name: value', got {line[:60]!r}")
    name = name.lower()
    return Field(name, value.strip(b" \t"), name in _FRAMING)


class AnswerHead:
    """``lines`` are the header lines without their line ends."""

    __slots__ = ("_coding", "_fields", "_lengths", "keep_alive", "lines", "status")

    def __init__(self, head: bytes) -> None:
        """``head`` goes up to and without the blank line."""
        first, *self.lines = head.split(b"\r\n")
        ends = len(self.lines)
        if head.count(b"\n") != ends or head.count(b"\r") != ends or b"\0" in head:
            raise Nonsense("the head of the answer has bare line ends or NUL in it")
        self.status = _status(first)
        self.keep_alive = first[:9] == _VERSIONS[0]
        self._lengths: list[bytes] = []
        self._coding: list[bytes] = []
        self._fields = fields = [_field(line) for line in self.lines]
        for name, value, framing in fields:
            if framing:
                self._note(name, value.lower())

    def value(self, name: bytes) -> bytes | None:
        """The first value of a header; ``name`` in lower case."""
        for field in self._fields:
            if field[0] == name:
                return field[1]
        return None

    def framing(self, method: str) -> Framing:
        if method == "HEAD" or self.status in _BODILESS:
            return Length(0)
        lengths, coding = self._lengths, self._coding
        if coding:
            if lengths or coding != [b"chunked"]:
                raise Nonsense("the answer's framing must be either one length or chunked")
            return Chunked()
        if not lengths:
            return UntilClose()
        length = lengths[0]
        if len(lengths) > 1 or not length.isdigit() or len(length) > _LONGEST_LENGTH:
            raise Nonsense(f"content-length must be one number, got {lengths!r}")
        return Length(int(length))

    def _note(self, name: bytes, value: bytes) -> None:
        if name == b"connection":
            if b"close" in value:
                self.keep_alive = False
        elif name == b"content-length":
            self._lengths.append(value)
        else:
            self._coding.append(value)


def _status(line: bytes) -> int:
    code = line[9:12]
    if line[:9] not in _VERSIONS or len(code) != 3 or not code.isdigit() or line[12:13] not in (b" ", b""):
        raise Nonsense(f"an answer must begin with HTTP/1.1 and a status, got {line[:40]!r}")
    if code < b"100":
        raise Nonsense(f"status must be at least 100, got {code.decode()}")
    return int(code)

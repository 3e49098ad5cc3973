"""The head of a peer's answer, parsed by hand, since peers are few, known and regular.

What could be understood in two ways is refused: bare line ends, folded lines, two kinds of framing,
two lengths. Header lines are kept as they came, in order, to be passed on as bytes.
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from pdscale.router.wire.errors import Nonsense
from pdscale.router.wire.framing import Chunked, Framing, Length, UntilClose

LARGEST_HEAD: Final = 64 * 1024
_VERSIONS: Final = (b"HTTP/1.1 ", b"HTTP/1.0 ")
_TOKEN: Final = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_BODILESS: Final = (204, 304)
_LONGEST_LENGTH: Final = 15  # decimal digits

_FRAMING: Final = (b"content-length", b"transfer-encoding", b"connection")
_CHUNKED, _UNTIL_CLOSE = -1, -2  # in the place of a length


class AnswerHead:
    """``lines`` are the header lines without their line ends; ``shown`` is what a reader of them has made of
    all of them, for the next one. Answers share heads (``head_of``): nothing else may be changed."""

    __slots__ = ("_length", "_values", "keep_alive", "lines", "shown", "status")

    def __init__(self, head: bytes) -> None:
        """``head`` goes up to and without the blank line."""
        first, *lines = head.split(b"\r\n")
        self.lines = lines
        self.shown: bytes | None = None
        self._length: int | None = None
        fields = [_known.get(line) or _field(line) for line in lines]
        values = dict(fields)
        self._values = values if len(values) == len(fields) else _repeated(fields)
        self.status, self.keep_alive = _start(first)
        connection = values.get(b"connection")
        if connection is not None and b"close" in self._values[b"connection"].lower():
            self.keep_alive = False

    def value(self, name: bytes) -> bytes | None:
        """The first value of a header; ``name`` in lower case."""
        return self._values.get(name)

    def framing(self, method: str) -> Framing:
        if method == "HEAD" or self.status in _BODILESS:
            return Length(0)
        if self._length is None:
            self._length = self._framed()
        if self._length >= 0:
            return Length(self._length)
        return Chunked() if self._length == _CHUNKED else UntilClose()

    def _framed(self) -> int:
        length, coding = self._values.get(b"content-length"), self._values.get(b"transfer-encoding")
        if coding is not None:
            if length is not None or coding.lower() != b"chunked":
                raise Nonsense("the answer's framing must be either one length or chunked")
            return _CHUNKED
        if length is None:
            return _UNTIL_CLOSE
        if not length.isdigit() or len(length) > _LONGEST_LENGTH:
            raise Nonsense(f"content-length must be one number, got {length!r}")
        return int(length)


# Streams of one second have the same head, date and all; so have answers of one length.
_heads: Final[dict[bytes, AnswerHead]] = {}
_MOST_HEADS: Final = 256
_LONGEST_HEAD: Final = 2048


def head_of(head: bytes) -> AnswerHead:
    """``AnswerHead(head)``, of which a known one takes a tenth."""
    found = _heads.get(head)
    if found is None:
        found = AnswerHead(head)
        if len(_heads) >= _MOST_HEADS:
            _heads.clear()
        if len(head) <= _LONGEST_HEAD:
            _heads[head] = found
    return found


def _repeated(fields: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """The first value counts; of what is about framing all do, so that two lengths are no number."""
    values: dict[bytes, bytes] = {}
    for name, value in fields:
        if name not in values:
            values[name] = value
        elif name in _FRAMING:
            values[name] += b", " + value
    return values


# Peers say the same things over and over: a line that is known takes a tenth of what it takes to read it.
_known: Final[dict[bytes, tuple[bytes, bytes]]] = {}
_MOST_KNOWN: Final = 4096


def _field(line: bytes) -> tuple[bytes, bytes]:
    """Name in lower case, and value."""
    name, colon, value = line.partition(b":")
    if not colon or not name or name.strip(_TOKEN):
        raise Nonsense(f"a header line must be 'name: value', got {line[:60]!r}")
    _refuse_line_ends(value)
    field = name.lower(), value.strip(b" \t")
    if len(_known) >= _MOST_KNOWN:
        _known.clear()  # dates and lengths, by now
    _known[line] = field
    return field


@lru_cache(maxsize=256)
def _start(line: bytes) -> tuple[int, bool]:
    """Status, and whether this version keeps connections."""
    code = line[9:12]
    if line[:9] not in _VERSIONS or len(code) != 3 or not code.isdigit() or line[12:13] not in (b" ", b""):
        raise Nonsense(f"an answer must begin with HTTP/1.1 and a status, got {line[:40]!r}")
    if code < b"100":
        raise Nonsense(f"status must be at least 100, got {code.decode()}")
    _refuse_line_ends(line)
    return int(code), line[:9] == _VERSIONS[0]


def _refuse_line_ends(text: bytes) -> None:
    if b"\n" in text or b"\r" in text or b"\0" in text:
        raise Nonsense("the head of the answer has bare line ends or NUL in it")

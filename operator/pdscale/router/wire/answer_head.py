"""The head of a peer's answer, parsed by hand, since peers are few, known and regular.

What could be understood in two ways is refused: bare line ends, folded lines, two kinds of framing,
two lengths. Header lines are kept as they came, in order, to be passed on as bytes.
"""

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


class AnswerHead:
    """``lines`` are the header lines without their line ends."""

    __slots__ = ("_coding", "_lengths", "_values", "keep_alive", "lines", "status")

    def __init__(self, head: bytes) -> None:
        """``head`` goes up to and without the blank line."""
        first, *lines = head.split(b"\r\n")
        self.lines = lines
        self.status, self.keep_alive = _start(first)
        self._lengths: list[bytes] = []
        self._coding: list[bytes] = []
        values: dict[bytes, bytes] = {}
        self._values = values
        for line in lines:
            name, value, about_framing = _known.get(line) or _field(line)
            if about_framing:
                self._note(name, value)
            if name not in values:
                values[name] = value

    def value(self, name: bytes) -> bytes | None:
        """The first value of a header; ``name`` in lower case."""
        return self._values.get(name)

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
        if name == b"content-length":
            self._lengths.append(value)
        elif name == b"connection":
            if b"close" in value.lower():
                self.keep_alive = False
        else:
            self._coding.append(value.lower())


# Peers say the same things over and over: a line that is known takes a tenth of what it takes to read it.
_known: Final[dict[bytes, tuple[bytes, bytes, bool]]] = {}
_MOST_KNOWN: Final = 4096


def _field(line: bytes) -> tuple[bytes, bytes, bool]:
    """Name in lower case, value, and whether it is about the connection."""
    name, colon, value = line.partition(b":")
    if not colon or not name or name.strip(_TOKEN):
        raise Nonsense(f"a header line must be 'name: value', got {line[:60]!r}")
    _refuse_line_ends(value)
    name = name.lower()
    field = name, value.strip(b" \t"), name in _FRAMING
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

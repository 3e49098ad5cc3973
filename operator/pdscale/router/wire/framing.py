"""Where the body of an answer ends: by length, by chunks, or with the connection.

Each takes bytes as they come off the socket, split anywhere, and gives the body's bytes. An answer is
somebody else's program speaking, so whatever is not exactly well-formed is refused.
"""

from typing import Final, Protocol

from pdscale.router.wire.errors import Nonsense

_HEX: Final = b"0123456789abcdefABCDEF"
_LONGEST_SIZE: Final = 15  # hex digits: more is no length that anybody means
_LONGEST_LINE: Final = 4096  # a size with its extensions, or a trailer
_MOST_TRAILERS: Final = 64


class Framing(Protocol):
    """``done``: the body is complete. ``surplus``: more arrived than belongs to it. ``between``: what comes
    next is a chunk's size."""

    done: bool
    surplus: bool
    between: bool

    def feed(self, data: bytes) -> bytes: ...

    def at_close(self) -> bool:
        """The connection has ended; whether the body is complete by that."""


class Length:
    __slots__ = ("_left", "between", "done", "surplus")

    def __init__(self, length: int) -> None:
        self._left = length
        self.done = length == 0
        self.surplus = self.between = False

    def feed(self, data: bytes) -> bytes:
        left = self._left = self._left - len(data)
        if left > 0:
            return data
        self.done = True
        if left == 0:
            return data
        self.surplus, self._left = True, 0
        return data[:left]

    def at_close(self) -> bool:
        return self.done


class UntilClose:
    __slots__ = ("between", "done", "surplus")

    def __init__(self) -> None:
        self.done = self.surplus = self.between = False

    def feed(self, data: bytes) -> bytes:
        return data

    def at_close(self) -> bool:
        self.done = True
        return True


class Chunked:
    """``_left`` bytes of a chunk are to come; -1 when its end of line is due, 0 when a size is."""

    __slots__ = ("_held", "_left", "_trailers", "between", "done", "surplus")

    def __init__(self) -> None:
        self._held = b""
        self._left = 0
        self._trailers = -1  # counted from the last chunk on
        self.done = self.surplus = False
        self.between = True

    def feed(self, data: bytes) -> bytes:
        """Mostly a read is one chunk, from its size to its end: looked for first, at a third of the cost."""
        if self.between:
            line, _, rest = data.partition(b"\r\n")
            if line and rest[-2:] == b"\r\n":
                size = SIZES.get(line) or _size(line)
                if size and size + 2 == len(rest):
                    return rest[:-2]
        return self._walk(data)

    def at_close(self) -> bool:
        return self.done

    def _walk(self, data: bytes) -> bytes:
        if self._held:
            data, self._held = self._held + data, b""
        pieces = []
        at, end = 0, len(data)
        while at < end and not self.done:
            left = self._left
            if left > 0:
                stop = at + left
                if stop > end:
                    pieces.append(data[at:])
                    self._left = stop - end
                    break
                pieces.append(data[at:stop])
                self._left, at = -1, stop
                continue
            eol = data.find(b"\r\n", at)
            if eol < 0:
                self._hold(data[at:], ends_chunk=left < 0)
                break
            if left < 0:
                if eol != at:
                    raise Nonsense("a chunk is longer than its size", began=True)
                self._left = 0
            elif self._trailers >= 0:
                self._trailer(data[at:eol])
            else:
                self._left = _size(data[at:eol])
                if not self._left:
                    self._trailers = 0
            at = eol + 2
        self.surplus = self.done and at < end
        self.between = not self._left and not self._held and self._trailers < 0
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _hold(self, line: bytes, *, ends_chunk: bool) -> None:
        """The beginning of a line whose end has not arrived."""
        if ends_chunk and line != b"\r":
            raise Nonsense("a chunk is longer than its size", began=True)
        if len(line) > _LONGEST_LINE:
            raise Nonsense(f"a chunk's size line must be at most {_LONGEST_LINE} bytes", began=True)
        self._held = line

    def _trailer(self, line: bytes) -> None:
        """Trailers are read over: nothing that follows a body may change what its head said."""
        if not line:
            self.done = True
        self._trailers += 1
        if self._trailers > _MOST_TRAILERS or len(line) > _LONGEST_LINE:
            raise Nonsense(f"an answer must have at most {_MOST_TRAILERS} trailers", began=True)


# Tokens are of few sizes, and a table costs half of ``lru_cache``. Full is full: the rest is worked out.
SIZES: Final[dict[bytes, int]] = {}
_MOST_SIZES: Final = 4096


def _size(line: bytes) -> int:
    """``int`` alone would take signs, underscores and 0x as well."""
    digits = line.partition(b";")[0].rstrip(b" \t") if b";" in line else line
    if not digits or digits.strip(_HEX) or len(digits) > _LONGEST_SIZE or len(line) > _LONGEST_LINE:
        raise Nonsense(f"a chunk's size must be hexadecimal, got {line[:40]!r}", began=True)
    size = int(digits, 16)
    if len(SIZES) < _MOST_SIZES and digits is line:  # without an extension, which goes no further
        SIZES[line] = size
    return size

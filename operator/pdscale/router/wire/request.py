"""A client's request as it came off the wire, and what a server lets clients send."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

LARGEST_BODY: Final = 16 * 1024 * 1024

Headers = list[tuple[bytes, bytes]]


class Head:
    """Start line and headers; ``path`` is the target without its query."""

    __slots__ = ("headers", "keep_alive", "method", "path", "target", "version")

    def __init__(
        self, method: str, target: bytes, version: str, headers: Headers, *, keep_alive: bool
    ) -> None:
        self.method, self.target, self.version = method, target, version
        self.path = target.partition(b"?")[0]
        self.headers, self.keep_alive = headers, keep_alive

    def value(self, name: bytes) -> bytes | None:
        """The first value of a header; ``name`` in lower case."""
        for key, value in self.headers:
            if key.lower() == name:
                return value.strip(b" \t")
        return None


@dataclass(slots=True)
class Request:
    head: Head
    content: bytes


@dataclass(frozen=True, slots=True)
class Limits:
    """What one connection may cost. Times are counted in the server's ticks, so they are exact to one."""

    head: int = 64 * 1024
    body: int = LARGEST_BODY
    idle_seconds: float = 75.0  # between requests, and between two pieces of a body
    head_seconds: float = 10.0
    linger_seconds: float = 2.0  # for a client to read a refusal while it is still sending

    def __post_init__(self) -> None:
        for name in ("head", "body", "idle_seconds", "head_seconds", "linger_seconds"):
            if not getattr(self, name) > 0:
                raise ValueError(f"limits.{name} must be above 0, got {getattr(self, name)}")


Guard = Callable[[Head], None]
"""Judges a head before its body is read; raises ``BadRequest``."""

ErrorBody = Callable[[int, str], bytes]
"""A status and a message, as JSON."""

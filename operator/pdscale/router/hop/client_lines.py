"""Header lines of an answer as its client may see them: whole lines, unchanged, or none.

Peers say the same things over and over, so a line's fate is kept with the line: a table costs half of
``lru_cache``, and a quarter of looking at the name.
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from pdscale.engines.hygiene import answer_headers

_known: Final[dict[bytes, bytes]] = {}
_MOST_KNOWN: Final = 4096


def client_lines(lines: Iterable[bytes]) -> bytes:
    passed = []
    for line in lines:
        known = _known.get(line)
        passed.append(_passed(line) if known is None else known)
    return b"".join(passed)


def _passed(line: bytes) -> bytes:
    """With its end, or nothing if it is not for clients."""
    passed = line + b"\r\n" if _passes(line.partition(b":")[0].lower()) else b""
    if len(_known) >= _MOST_KNOWN:
        _known.clear()  # dates and lengths, by now
    _known[line] = passed
    return passed


@lru_cache(maxsize=1024)
def _passes(name: bytes) -> bool:
    return any(answer_headers([(name.decode("latin-1"), "")]))

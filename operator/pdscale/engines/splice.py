"""Puts fields into a JSON object's bytes without reading the rest: right after its opening brace.

The client's bytes reach the engine unchanged, for 8 microseconds at 200 kB instead of 60 for parsing and
dumping. Of two fields with one name the engine takes the last, so a field that the body already has cannot be
replaced this way: the caller takes it out first (``hygiene``).
"""

from collections.abc import Mapping
from typing import Any, Final

import orjson

_SPACE: Final = b" \t\r\n"


def splice(content: bytes, fields: Mapping[str, Any]) -> bytes:
    """``{...}`` and fields -> ``{fields, ...}``."""
    if not fields:
        return content
    start = len(content) - len(content.lstrip(_SPACE))
    if content[start : start + 1] != b"{":
        raise ValueError(f"content must be a JSON object, got {content[start : start + 20]!r}")
    inside = orjson.dumps(fields)[1:-1]
    rest = content[start + 1 :]
    comma = b"" if rest.lstrip(_SPACE)[:1] == b"}" else b","
    return b"{" + inside + comma + rest

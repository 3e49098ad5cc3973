"""A profile as a JSON document, for engines that no built-in profile describes.

The fields are those of ``Profile``. A segment is ``[up_to, fixed, per_item, per_pair]`` in seconds,
with ``null`` for the end of the last one.
"""

import math
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any

from pdscale.perf.profile import Profile, Segment


def read_profile(raw: object) -> Profile:
    """Refuses unknown, missing and malformed fields by name."""
    if not isinstance(raw, Mapping):
        raise InvalidProfile(f"profile must be an object, got {raw!r}")
    known = {f.name for f in fields(Profile)}
    required = {f.name for f in fields(Profile) if f.default is MISSING}
    for name in sorted(raw.keys() - known):
        raise InvalidProfile(f"profile.{name} is unknown; known are {', '.join(sorted(known))}")
    for name in sorted(required - raw.keys()):
        raise InvalidProfile(f"profile.{name} is missing")
    return Profile(**{name: _value(name, value) for name, value in raw.items()})


class InvalidProfile(ValueError):
    """The document does not describe a profile."""


def _value(name: str, value: Any) -> Any:
    if name in ("prefill", "decode"):
        return _segments(name, value)
    text = name in ("name", "source")
    if isinstance(value, str) if text else _is_number(value):
        return value
    raise InvalidProfile(f"profile.{name} must be a {'text' if text else 'number'}, got {value!r}")


def _segments(name: str, value: object) -> tuple[Segment, ...]:
    if not isinstance(value, list):
        raise InvalidProfile(f"profile.{name} must be a list of segments, got {value!r}")
    return tuple(_segment(name, row) for row in value)


def _segment(name: str, row: object) -> Segment:
    if not isinstance(row, list) or len(row) != 4 or not all(map(_is_number, row[1:])):
        raise InvalidProfile(
            f"profile.{name} segments must be [up_to or null, fixed, per_item, per_pair], got {row!r}"
        )
    up_to = math.inf if row[0] is None else row[0]
    if not _is_number(up_to):
        raise InvalidProfile(f"profile.{name} segments must end at a number or null, got {up_to!r}")
    return Segment(up_to, row[1], row[2], row[3])


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def profile_document(profile: Profile) -> dict[str, Any]:
    """The document of a profile; ``read_profile`` reads it back, bit for bit."""
    out: dict[str, Any] = {f.name: getattr(profile, f.name) for f in fields(Profile)}
    for name in ("prefill", "decode"):
        out[name] = [
            [None if math.isinf(s.up_to) else s.up_to, s.fixed, s.per_item, s.per_pair] for s in out[name]
        ]
    return out

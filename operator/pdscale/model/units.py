"""The only place where text becomes a quantity.

Inside, times are seconds, lengths are tokens, shares are fractions of one, all plain numbers.
"""

import re
from typing import Final

Seconds = float
Tokens = float

DURATION_PATTERN: Final = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$"
_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)")
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def parse_duration(text: str) -> Seconds:
    """Read a Kubernetes-style duration: ``75ms``, ``30s``, ``1m30s`` -> 0.075, 30.0, 90.0."""
    if not re.fullmatch(DURATION_PATTERN, text):
        raise ValueError(f"duration must look like 75ms, 30s or 5m, got {text!r}")
    return sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(text))


def format_duration(seconds: Seconds) -> str:
    """Write seconds the shortest way that ``parse_duration`` reads back: 0.075 -> ``75ms``."""
    if seconds < 0:
        raise ValueError(f"duration must be at least 0s, got {seconds}s")
    for unit, size in (("h", 3600.0), ("m", 60.0), ("s", 1.0)):
        if seconds >= size and (seconds / size).is_integer():
            return f"{int(seconds / size)}{unit}"
    millis = round(seconds * 1000, 6)
    return f"{int(millis)}ms" if millis.is_integer() else f"{millis:.6f}".rstrip("0") + "ms"

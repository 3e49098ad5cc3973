"""Text to values, for flags and scenario files alike: one grammar, one set of messages.

A scenario file's ``ttft: 2s`` and a flag's ``--ttft 2s`` are the same text. Every reader refuses with the
value and the bound; who calls it puts the name in front."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Final, TypeVar

from pdscale.model.units import Seconds, parse_duration

Read = Callable[[str], Any]
E = TypeVar("E", bound=Enum)

_RATES: Final = {"B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9, "Mb": 1e6 / 8, "Gb": 1e9 / 8}


@dataclass(frozen=True, slots=True)
class Field:
    """One setting. ``default`` is a value as ``read`` gives it; ``metavar`` is what help calls it."""

    name: str
    read: Read
    default: Any
    help: str
    metavar: str


def flag(name: str, read: Read, default: Any, metavar: str, says: str) -> Field:
    """A ``Field`` in the order in which tables of them are read: what to write, then what it means."""
    return Field(name, read, default, says, metavar)


class InvalidScenario(ValueError):
    """A flag or a file has to be changed; the message names it, its value and what would do."""


def text(raw: str) -> str:
    return raw


def path(raw: str) -> Path:
    return Path(raw).expanduser()


def count(*, least: int = 0) -> Read:
    def read(raw: str) -> int:
        if not re.fullmatch(r"-?[0-9]+", raw) or int(raw) < least:
            raise ValueError(f"must be a whole number of at least {least}, got {raw!r}")
        return int(raw)

    return read


def number(*, least: float = 0.0, above: float | None = None, most: float = math.inf) -> Read:
    bound = f"above {above:g}" if above is not None else f"at least {least:g}"
    bound += f" and at most {most:g}" if most < math.inf else ""

    def read(raw: str) -> float:
        try:
            value = float(raw)
        except ValueError:
            value = math.nan
        inside = value > above if above is not None else value >= least
        if not inside or not value <= most or math.isinf(value):
            raise ValueError(f"must be a number {bound}, got {raw!r}")
        return value

    return read


def share(raw: str) -> float:
    """Fractions between the ends: ``0.95``, ``95%``."""
    try:
        value = float(raw.removesuffix("%")) / (100 if raw.endswith("%") else 1)
    except ValueError:
        value = math.nan
    if not 0 < value < 1:
        raise ValueError(f"must be a share between 0 and 1, like 0.95 or 95%, got {raw!r}")
    return value


def duration(*, above: Seconds | None = None) -> Read:
    def read(raw: str) -> Seconds:
        seconds = 0.0 if raw == "0" else parse_duration(raw)
        if above is not None and not seconds > above:
            raise ValueError(f"must be above {above:g}s, got {raw!r}")
        return seconds

    return read


def span(raw: str) -> tuple[Seconds, Seconds]:
    """``10m..40m``."""
    ends = raw.split("..")
    if len(ends) != 2:
        raise ValueError(f"must be two durations like 10m..40m, got {raw!r}")
    start, stop = (duration()(end) for end in ends)
    if not start < stop:
        raise ValueError(f"must begin before it ends, got {raw!r}")
    return start, stop


def bandwidth(raw: str) -> float:
    """Bytes per second: ``25GB/s``, ``200Gb/s``."""
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([kMG]?B|[MG]b)/s", raw)
    if found is None or not float(found[1]) > 0:
        raise ValueError(f"must look like 25GB/s or 200Gb/s and be above 0, got {raw!r}")
    return float(found[1]) * _RATES[found[2]]


def yes_or_no(raw: str) -> bool:
    if raw.lower() not in ("true", "false"):
        raise ValueError(f"must be true or false, got {raw!r}")
    return raw.lower() == "true"


def one_of(names: type[E]) -> Callable[[str], E]:
    """A member by its name, whatever the case: ``ampd``."""
    known = {str(name.value).lower(): name for name in names}

    def read(raw: str) -> E:
        if raw.lower() not in known:
            raise ValueError(f"must be one of {', '.join(str(name.value) for name in names)}, got {raw!r}")
        return known[raw.lower()]

    return read


def several(read: Read) -> Read:
    """``1,2,3``: at least one, none twice."""

    def read_all(raw: str) -> tuple[Any, ...]:
        found = tuple(read(part.strip()) for part in raw.split(","))
        if len(set(found)) != len(found):
            raise ValueError(f"must name nothing twice, got {raw!r}")
        return found

    return read_all


def given_flags(fields: Sequence[Field], flags: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Of ``flags``, texts by attribute name and ``None`` where one was not given, what ``parsed`` reads."""
    texts = {field.name: flags.get(field.name.replace("-", "_")) for field in fields}
    return {name: (f"--{name}", raw) for name, raw in texts.items() if raw is not None}


def parsed(fields: Sequence[Field], given: dict[str, tuple[str, str]]) -> dict[str, Any]:
    """Values by attribute name. ``given`` has, by field, what to call it in an error and its text."""
    values = {}
    for field in fields:
        value = field.default
        if field.name in given:
            called, raw = given[field.name]
            try:
                value = field.read(raw)
            except ValueError as error:
                raise InvalidScenario(f"{called}: {error}") from error
        values[field.name.replace("-", "_")] = value
    return values

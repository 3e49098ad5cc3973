"""Flags and a scenario file to settings; a flag comes before the file.

A file is one flat mapping of the flags' names without dashes in front: ``trace: day.csv.gz``, ``max-
prefill: 8``, ``seed: [1, 2, 3]``. Unknown keys are refused: a misspelt one would silently give a result for
something else."""

import argparse
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pdscale.model.units import format_duration
from pdscale.scenarios.fields import Field, InvalidScenario, given_flags, parsed
from pdscale.scenarios.settings import FIELDS, Settings


def add_flags(parser: argparse.ArgumentParser) -> None:
    for field in FIELDS:
        add_flag(parser, field)
    parser.add_argument("--scenario", metavar="FILE", type=Path, help="YAML with these names as keys")


def add_flag(parser: argparse.ArgumentParser, field: Field, *, with_default: bool = True) -> None:
    """Its help ends with the default, where there is one to show."""
    shown = with_default and field.default not in (None, (), "")
    default = f" [{written(field, field.default)}]" if shown else ""
    parser.add_argument(
        f"--{field.name}", metavar=field.metavar, help=f"{field.help}{default}".replace("%", "%%")
    )


def read_settings(flags: Mapping[str, Any], scenario: Path | None = None) -> Settings:
    """``flags`` has texts by attribute name, ``None`` where a flag was not given."""
    said = {} if scenario is None else _of_file(scenario)
    return Settings(**parsed(FIELDS, said | given_flags(FIELDS, flags)))


def written(field: Field, value: Any) -> str:
    """A value as ``field.read`` reads it back."""
    match field.metavar:
        case "TIME":
            return format_duration(value)
        case "FROM..TO":
            return "..".join(format_duration(end) for end in value)
        case "BANDWIDTH":
            return f"{value / 1e9:g}GB/s"
    return shown(value)


def shown(value: object) -> str:
    """A value as a person would write it."""
    if isinstance(value, tuple):
        return ",".join(shown(v) for v in value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    return str(getattr(value, "value", value))


def _of_file(file: Path) -> dict[str, tuple[str, str]]:
    import yaml  # here, so that flags alone need no library

    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidScenario(f"--scenario {file}: cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise InvalidScenario(f"--scenario {file}: is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(document, dict):
        raise InvalidScenario(f"--scenario {file}: must be a mapping of settings, got {document!r}")
    known = {field.name for field in FIELDS}
    for key in document:
        if key not in known:
            near = get_close_matches(str(key), known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(known))}"
            raise InvalidScenario(f"--scenario {file}: {key} is unknown; {hint}")
    return {
        key: (f"--scenario {file}: {key}", _text(file, key, value))
        for key, value in document.items()
        if value is not None
    }


def _text(file: Path, key: str, value: object) -> str:
    if isinstance(value, dict):
        raise InvalidScenario(f"--scenario {file}: {key}: must be a value or a list, got {value!r}")
    if isinstance(value, list):
        return ",".join(_text(file, key, part) for part in value)
    return shown(value) if isinstance(value, bool) else str(value)

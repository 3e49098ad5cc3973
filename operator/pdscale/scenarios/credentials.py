"""Secrets that flags name by a file, so that none stands in a list of processes."""

from pathlib import Path

from pdscale.prom.access import Bearer
from pdscale.scenarios.fields import InvalidScenario


def content(flag: str, file: Path | None) -> str | None:
    """What is in the file; nothing where the flag was not given."""
    if file is None:
        return None
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidScenario(f"{flag} {file}: cannot be read: {error}") from error


def bearer(file: Path | None) -> Bearer | None:
    """The token of ``--bearer-file``."""
    token = content("--bearer-file", file)
    if token is None:
        return None
    try:
        return Bearer(token.strip())
    except ValueError as error:
        raise InvalidScenario(f"--bearer-file {file}: {error}") from error

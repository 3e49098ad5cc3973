"""The one place that opens trace and profile files.

Plain or gzip, told apart by their first bytes and not by their name. Everything behind this function works on
lines or values and is pure.
"""

import gzip
import json
import zlib
from pathlib import Path

from pdscale.perf.place import Place
from pdscale.perf.table import Table, read_table


class UnreadableFile(ValueError):
    """The file cannot be opened, unpacked or decoded."""


def read_lines(path: Path) -> list[str]:
    """Lines of a text file with their line ends."""
    try:
        raw = path.read_bytes()
        if raw.startswith(b"\x1f\x8b"):
            raw = gzip.decompress(raw)
        return raw.decode("utf-8-sig").splitlines(keepends=True)
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise UnreadableFile(f"{path}: cannot be read: {error}") from error


def read_csv(path: Path) -> Table:
    return read_table(read_lines(path), str(path))


def read_json(path: Path) -> Place:
    try:
        return Place(str(path), json.loads("".join(read_lines(path))))
    except json.JSONDecodeError as error:
        raise UnreadableFile(
            f"{path}, line {error.lineno}, column {error.colno}: is not JSON: {error.msg}"
        ) from error

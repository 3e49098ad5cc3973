"""What a run on kind could leave on the machine: listed before it, compared after it.

    python -m pdscale_e2e.leftovers --before build/before.json
    make e2e-kind
    python -m pdscale_e2e.leftovers --after build/before.json

Containers count by the cluster's name, networks, volumes and routes by not having been there before. A
process is the run's own if it inherited the run's mark in its environment: unlike a parent, that survives the
parent's end, and other runs on the same machine carry another mark.
"""

import argparse
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pdscale_e2e import containers
from pdscale_e2e.waiting import NeverHappened, eventually

MARK: Final = "PDSCALE_E2E_RUN"
_PREFIX: Final = "pdscale-e2e"

Found = Mapping[str, Sequence[str]]


class LeftBehind(RuntimeError):
    """A run has ended and not taken everything with it; the message names what is left."""


def look(engine: str, *, prefix: str, mark: str = "") -> Found:
    """What is there now, by kind; ``mark`` is a run's, empty for processes of any run."""
    named = _lines(engine, "ps", "--all", "--format", "{{.Names}}")
    return {
        "container": [name for name in named if name.startswith(prefix)],
        "network": _lines(engine, "network", "ls", "--format", "{{.Name}}"),
        "volume": _lines(engine, "volume", "ls", "--quiet"),
        "route": [_route(line) for line in _lines("ip", "-4", "-oneline", "route", "show")],
        "process": list(_processes(f"{MARK}={mark}")),
    }


def left(before: Found, after: Found) -> list[str]:
    """What is there after and was not before, as ``KIND NAME``."""
    return [
        f"{kind} {name}"
        for kind, names in after.items()
        for name in names
        if name not in before.get(kind, ())
    ]


@dataclass(frozen=True, slots=True)
class Watch:
    """From the beginning of a run to its end."""

    engine: str
    prefix: str
    mark: str
    before: Found

    @classmethod
    def begin(cls, engine: str, prefix: str) -> "Watch":
        """Look now, and mark every process that this one starts from now on."""
        mark = os.environ[MARK] = uuid.uuid4().hex
        return cls(engine, prefix, mark, look(engine, prefix=prefix, mark=mark))

    def end(self, *, within: float = 60.0) -> None:
        """Wait until nothing is left, because a container engine's own programs end a little later.

        Raises ``LeftBehind`` if something stays.
        """
        try:
            eventually(lambda: not self._left(), within=within, what="nothing is left", every=0.2)
        except NeverHappened:
            if names := self._left():
                raise LeftBehind(f"the run has left behind: {', '.join(names)}") from None

    def _left(self) -> list[str]:
        return left(self.before, look(self.engine, prefix=self.prefix, mark=self.mark))


def _lines(*command: str) -> list[str]:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()


def _route(line: str) -> str:
    """A bridge's route says ``linkdown`` while no container is on it; it is the same route."""
    return " ".join(word for word in line.split() if word != "linkdown")


def _processes(start: str, proc: Path = Path("/proc")) -> Iterator[str]:
    """Processes with a variable that starts so in the environment that they were started with."""
    for folder in sorted(proc.glob("[0-9]*")):
        if folder.name == str(os.getpid()):
            continue
        try:
            variables = (folder / "environ").read_bytes().split(b"\0")
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue  # it has ended meanwhile, or is another user's
        if any(variable.startswith(start.encode()) for variable in variables):
            yield f"{folder.name} {b' '.join(words).decode(errors='replace').strip()}"


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m pdscale_e2e.leftovers", description=__doc__)
    when = parser.add_mutually_exclusive_group(required=True)
    when.add_argument("--before", type=Path, metavar="FILE", help="write what is there now")
    when.add_argument("--after", type=Path, metavar="FILE", help="compare with what was there then")
    parser.add_argument("--prefix", default=_PREFIX, help="of containers' names (default: %(default)s)")
    given = parser.parse_args(argv)
    try:
        found = look(containers.find().command, prefix=given.prefix)
    except containers.ImagesUnavailable as error:
        sys.exit(f"leftovers: {error}")
    if given.before:
        given.before.parent.mkdir(parents=True, exist_ok=True)
        given.before.write_text(json.dumps(found, indent=1))
    elif names := left(json.loads(given.after.read_text()), found):
        sys.exit("\n".join(f"left behind: {name}" for name in names))


if __name__ == "__main__":
    main()

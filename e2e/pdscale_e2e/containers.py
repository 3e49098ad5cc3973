"""A container engine's command line: Docker, podman or nerdctl, whichever is there.

What the three do not spell alike is said here and nowhere else.
"""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class ImagesUnavailable(RuntimeError):
    """Images cannot be built on this machine as it is; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class Built:
    """What an engine knows of an image: its identity, its size unpacked, its layers from the bottom up."""

    id: str
    size: int
    layers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Containers:
    """One engine, by the name of its command."""

    command: str

    def build(self, target: str, reference: str, *, folder: Path, arguments: Mapping[str, str]) -> None:
        """Build a target of ``folder``'s Dockerfile; no step gets a network."""
        given = [word for name, value in arguments.items() for word in ("--build-arg", f"{name}={value}")]
        place = ("--file", str(folder / "Dockerfile"), str(folder))
        options = ("--network", "none", "--target", target, "--tag", reference, *given)
        try:
            self._output("build", *options, *place)
        except ImagesUnavailable as error:
            tail = "\n".join(str(error).splitlines()[-20:])
            raise ImagesUnavailable(f"{reference} could not be built by {self.command}:\n{tail}") from error

    def inspect(self, reference: str) -> Built:
        found: Any = json.loads(self._output("image", "inspect", reference))[0]
        # Docker says sha256:HEX where podman says HEX.
        identity = found["Id"].removeprefix("sha256:")
        return Built(identity, found["Size"], tuple(found["RootFS"]["Layers"] or ()))

    def ask(self, image: str, code: str) -> str:
        """What Python prints inside ``image``, which is pulled if it is not there."""
        return self._output("run", "--rm", "--network", "none", "--entrypoint", "python", image, "-c", code)

    def save(self, references: Sequence[str], archive: Path) -> None:
        """Write an archive that ``kind load image-archive`` takes; whole or not at all.

        Layers that the images share lie in it once.
        """
        several = ["--multi-image-archive"] if len(references) > 1 and self._is_podman else []
        archive.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=archive.parent, prefix=".saving-") as scratch:
            written = Path(scratch) / archive.name
            self._output("save", *several, "--output", str(written), *references)
            written.replace(archive)

    @property
    def _is_podman(self) -> bool:
        return Path(self.command).name == "podman"

    def _output(self, *arguments: str) -> str:
        ended = subprocess.run([self.command, *arguments], capture_output=True, text=True, check=False)
        if ended.returncode:
            doing = " ".join((self.command, *arguments[:2]))
            raise ImagesUnavailable(f"{doing} ended with code {ended.returncode}: {ended.stderr.strip()}")
        return ended.stdout


def find(environ: Mapping[str, str] = os.environ) -> Containers:
    """The engine that kind would take, else Docker if its daemon answers, else podman."""
    wanted = environ.get("KIND_EXPERIMENTAL_PROVIDER")
    for command in (wanted,) if wanted else ("docker", "podman"):
        if _answers(command, environ):
            return Containers(command)
    asked = f"KIND_EXPERIMENTAL_PROVIDER is {wanted!r}" if wanted else "tried docker and podman"
    raise ImagesUnavailable(
        f"images need a container engine that answers ({asked}); start one or install podman"
    )


def _answers(command: str, environ: Mapping[str, str]) -> bool:
    path = shutil.which(command, path=environ.get("PATH"))
    if path is None:
        return False
    try:
        # `version` alone would succeed without a daemon under some commands; `info` needs one under all.
        return subprocess.run([path, "info"], capture_output=True, check=False, timeout=30).returncode == 0
    except subprocess.TimeoutExpired:
        return False

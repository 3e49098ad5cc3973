"""Whether an image need not be built again: it is there, and all that it is made of is what it was.

A container engine finds that out by itself, stage by stage, in eight seconds per image; a digest of all that
a build may copy takes a tenth of one. One digest serves all images: what changes any of them has them all
looked at by the engine, whose own cache then knows better.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from pdscale_e2e.containers import Built, Containers, ImagesUnavailable


class Stamps:
    """``folder`` holds a file for each target: what it was made of, and as what the engine knows it."""

    def __init__(self, folder: Path, engine: Containers, *, context: str) -> None:
        self._folder, self._engine, self._context = folder, engine, context

    def built(self, target: str, reference: str) -> Built | None:
        """The image, if it is there and would not become another one."""
        stamp = self._folder / target
        if not stamp.is_file():
            return None
        try:
            found = self._engine.inspect(reference)
        except ImagesUnavailable:
            return None
        return found if stamp.read_text() == self._content(reference, found) else None

    def write(self, target: str, reference: str, built: Built) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / target).write_text(self._content(reference, built))

    def _content(self, reference: str, built: Built) -> str:
        return f"{reference} {built.id} of {self._context}\n"


def digest(root: Path, *, base: str) -> str:
    """Of all that the Dockerfile in ``root`` may copy, and of the ``base`` image's identity.

    Wheels and the Prometheus binary count by name, size and time: they are replaced, never edited.
    """
    content = hashlib.sha256(base.encode())
    for name in ("Dockerfile", ".dockerignore"):
        content.update(_framed(name, (root / name).read_bytes()))
    for path in _files(root / "e2e" / "pdscale_e2e"):
        content.update(_framed(str(path.relative_to(root)), path.read_bytes()))
    for folder in (root / "build" / "wheels", root / "build" / "images" / "prometheus"):
        for path in _files(folder):
            seen = path.stat()
            content.update(f"{path.relative_to(root)} {seen.st_size} {seen.st_mtime_ns}\n".encode())
    return content.hexdigest()


def _files(folder: Path) -> Iterator[Path]:
    return (p for p in sorted(folder.rglob("*")) if p.is_file() and "__pycache__" not in p.parts)


def _framed(name: str, content: bytes) -> bytes:
    return f"{name} {len(content)}\n".encode() + content

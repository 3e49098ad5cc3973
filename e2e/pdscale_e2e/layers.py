"""What an image weighs on the wire: its layers, gzip-compressed.

An engine reports what layers take on its disk; what people wait for is what goes over the wire. The
layers are compressed once, and the figures kept by the layers' digests, which say what is in them.
"""

import json
import tarfile
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Final

from pdscale_e2e.containers import Built, Containers, ImagesUnavailable

_CHUNK: Final = 1 << 20
_GZIP: Final = b"\x1f\x8b"


class Sizes:
    """Compressed sizes of layers, remembered in a file."""

    def __init__(self, engine: Containers, memory: Path) -> None:
        self._engine = engine
        self._memory = memory
        self._known: dict[str, int] = json.loads(memory.read_text()) if memory.is_file() else {}

    def added(self, reference: str, built: Built, layers: Sequence[str]) -> int:
        """Bytes of ``layers``, which are some of the image's."""
        unknown = set(layers) - self._known.keys()
        if unknown:
            self._measure(reference, built, unknown)
        return sum(self._known[layer] for layer in layers)

    def _measure(self, reference: str, built: Built, unknown: set[str]) -> None:
        self._memory.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._memory.parent, prefix=".measuring-") as scratch:
            archive = Path(scratch) / "image.tar"
            self._engine.save([reference], archive)
            self._known |= compressed(archive, built.layers, unknown)
        self._memory.write_text(json.dumps(self._known, indent=1))


def compressed(archive: Path, layers: Sequence[str], wanted: set[str]) -> dict[str, int]:
    """Bytes of an archive's ``wanted`` layers; ``layers`` names all of them, from the bottom up."""
    with tarfile.open(archive) as parts:
        names: Sequence[str] = json.load(_member(parts, "manifest.json"))[0]["Layers"]
        if len(names) != len(layers):
            raise ImagesUnavailable(f"{archive} must hold {len(layers)} layers, got {len(names)}")
        pairs = [pair for pair in zip(layers, names, strict=True) if pair[0] in wanted]
        return {layer: _zipped(_member(parts, name)) for layer, name in pairs}


def _member(parts: tarfile.TarFile, name: str) -> IO[bytes]:
    found = parts.extractfile(name)
    if found is None:
        raise ImagesUnavailable(f"{name} in {parts.name!r} must be a file")
    return found


def _zipped(layer: IO[bytes]) -> int:
    first, rest = layer.read(_CHUNK), _chunks(layer)
    if first.startswith(_GZIP):  # some stores of Docker's keep layers compressed
        return len(first) + sum(len(chunk) for chunk in rest)
    packer = zlib.compressobj(level=6, wbits=zlib.MAX_WBITS | 16)
    size = len(packer.compress(first)) + sum(len(packer.compress(chunk)) for chunk in rest)
    return size + len(packer.flush())


def _chunks(source: IO[bytes]) -> Iterator[bytes]:
    return iter(lambda: source.read(_CHUNK), b"")

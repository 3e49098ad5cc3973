"""One image from what was gathered: built, looked at, billed, and saved if that was asked for.

An image that has to carry compiled modules counts as built once its own Python has loaded them.
"""

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pdscale_e2e import compiled_wheel, compiling, sbom, wheels
from pdscale_e2e.containers import Built, Containers, ImagesUnavailable
from pdscale_e2e.unchanged import Stamps

COMPILED: Final = "router"  # the one image that may have compiled modules
_PROMETHEUS_MODULES: Final = wheels.ROOT / "e2e" / "tools" / "prometheus" / "go.mod"


@dataclass(frozen=True, slots=True)
class Image:
    """An image that was built: what pods call it, its archive, if one was asked for, and what is in it."""

    reference: str
    archive: Path | None
    built: Built
    bill: Path


@dataclass(frozen=True, slots=True)
class Maker:
    """What all images of one run have in common."""

    engine: Containers
    stamps: Stamps
    base: sbom.Base
    save: Path | None
    own: str  # the router's folder of our own wheel
    bills: Path

    def image(self, target: str, reference: str) -> Image:
        built = self.stamps.built(self._stamp(target), reference) or self._built(target, reference)
        archive = self.save / f"{target}.tar" if self.save else None
        kept = archive and saved(self.engine, {reference: built}, archive)
        return Image(reference, kept, built, self._billed(target, reference))

    def _billed(self, target: str, reference: str) -> Path:
        """``TARGET.cdx.json`` in the folder of bills."""
        if target == "prometheus":
            bom = sbom.of_modules(reference, _PROMETHEUS_MODULES.read_text())
        else:
            own = self._own(target)
            folders = [wheels.WHEELS / (own if n == wheels.OWN else n) for n in sbom.FOLDERS[target]]
            bom = sbom.of_wheels(reference, folders, self.base)
        file = self.bills / f"{target}.cdx.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(sbom.text(bom))
        return file

    def _built(self, target: str, reference: str) -> Built:
        began = time.monotonic()
        arguments = {"BASE_IMAGE": self.base.reference, "OWN": self._own(target)}
        self.engine.build(target, reference, folder=wheels.ROOT, arguments=arguments)
        if self._own(target) == compiled_wheel.NAME:
            self._loads(reference)
        built = self.engine.inspect(reference)
        self.stamps.write(self._stamp(target), reference, built)
        print(f"images: {reference} is built ({time.monotonic() - began:.0f} s)", file=sys.stderr, flush=True)
        return built

    def _own(self, target: str) -> str:
        return self.own if target == COMPILED else wheels.OWN

    def _stamp(self, target: str) -> str:
        """Both kinds have one reference; the image's identity in the stamp says which one it names now."""
        return f"{target}-compiled" if self._own(target) == compiled_wheel.NAME else target

    def _loads(self, reference: str) -> None:
        try:
            compiling.prove(lambda code: self.engine.ask(reference, code))
        except ImagesUnavailable as error:
            raise ImagesUnavailable(
                f"{reference} does not load what was compiled here, with glibc {compiling.HERE.glibc}; "
                f"compile where glibc is not newer than the image's, or leave COMPILED off: {error}"
            ) from error


def saved(engine: Containers, images: Mapping[str, Built], archive: Path) -> Path:
    """The archive; written only when the one that is there holds another image or another name."""
    stamp = archive.with_suffix(".id")
    wanted = "".join(f"{reference} {built.id}\n" for reference, built in images.items())
    if not (archive.is_file() and stamp.is_file() and stamp.read_text() == wanted):
        stamp.unlink(missing_ok=True)
        engine.save(list(images), archive)
        stamp.write_text(wanted)
    return archive

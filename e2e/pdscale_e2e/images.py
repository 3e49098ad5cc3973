"""Container images of the project, built without a network inside the build.

    python -m pdscale_e2e.images operator router --tag 0.1.0 --save build/images

Images are called ``localhost/pdscale/TARGET:TAG``. The prefix is spelled out because engines disagree
about names without one, and what a node finds under the name must be what was built here: nobody can
publish under ``localhost``, so a pod that asks for it gets the loaded image or an error.
"""

import argparse
import os
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pdscale import __version__
from pdscale_e2e import binaries, containers, unchanged, wheels
from pdscale_e2e.containers import Built, Containers, ImagesUnavailable
from pdscale_e2e.layers import Sizes
from pdscale_e2e.unchanged import Stamps

__all__ = ["TARGETS", "Image", "ImagesUnavailable", "build"]

# In the order of the Dockerfile: some engines build every stage in front of the one that was asked for, so
# a target's ingredients are its own and those of the targets before it.
TARGETS: Final = ("router", "emulator", "operator", "e2e", "gpu-plugin", "prometheus")
PREFIX: Final = "localhost/pdscale"
BASE: Final = "python:3.11-slim"
_CONTEXT: Final = wheels.ROOT / "build" / "images"


@dataclass(frozen=True, slots=True)
class Image:
    """An image that was built: what pods call it, and its archive, if one was asked for."""

    reference: str
    archive: Path | None
    built: Built


def build(
    targets: Sequence[str] = TARGETS,
    *,
    tag: str = __version__,
    prefix: str = PREFIX,
    save: Path | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Mapping[str, Image]:
    """Build ``targets`` from this checkout; what is there already is used again.

    Raises ``ImagesUnavailable`` if there is no engine, no base image or no wheel.
    """
    chosen = _in_order(targets)
    engine = containers.find(environ)
    base = environ.get("PYTHON_BASE_IMAGE") or BASE
    _gather(chosen, engine, base)
    context = unchanged.digest(wheels.ROOT, base=engine.inspect(base).id)
    stamps = Stamps(_CONTEXT / "made", engine, context=context)
    maker = _Maker(engine, stamps, base, save)
    return {target: maker.image(target, f"{prefix}/{target}:{tag}") for target in chosen}


def _in_order(targets: Sequence[str]) -> list[str]:
    if not targets:
        raise ImagesUnavailable(f"targets must be some of {', '.join(TARGETS)}, got none")
    for target in targets:
        if target not in TARGETS:
            raise ImagesUnavailable(f"target must be one of {', '.join(TARGETS)}, got {target!r}")
    return [target for target in TARGETS if target in targets]


def _gather(chosen: Sequence[str], engine: Containers, base: str) -> None:
    interpreter = wheels.Interpreter.parse(engine.ask(base, wheels.PROBE))
    for target in TARGETS[: TARGETS.index(chosen[-1]) + 1]:
        if target in ("router", "operator"):
            wheels.gather(target, wheels.requirements(target), interpreter)
        elif target == "gpu-plugin":
            wheels.gather(target, wheels.GPU_PLUGIN, interpreter)
        elif target == "prometheus":
            _prometheus()
    wheels.own_package()


def _prometheus() -> None:
    """The binary of the local cluster, where the Dockerfile can see it."""
    try:
        built = binaries.program("prometheus")
    except binaries.MissingTool as error:
        raise ImagesUnavailable(str(error)) from error
    copy = _CONTEXT / "prometheus" / "prometheus"
    if copy.is_file() and copy.stat().st_mtime_ns == built.stat().st_mtime_ns:
        return
    copy.parent.mkdir(parents=True, exist_ok=True)
    fresh = copy.with_suffix(".new")
    shutil.copy2(built, fresh)
    fresh.replace(copy)


@dataclass(frozen=True, slots=True)
class _Maker:
    engine: Containers
    stamps: Stamps
    base: str
    save: Path | None

    def image(self, target: str, reference: str) -> Image:
        built = self.stamps.built(target, reference) or self._built(target, reference)
        archive = self.save / f"{target}.tar" if self.save else None
        return Image(reference, archive and _saved(self.engine, {reference: built}, archive), built)

    def _built(self, target: str, reference: str) -> Built:
        began = time.monotonic()
        self.engine.build(target, reference, folder=wheels.ROOT, arguments={"BASE_IMAGE": self.base})
        built = self.engine.inspect(reference)
        self.stamps.write(target, reference, built)
        print(f"images: {reference} is built ({time.monotonic() - began:.0f} s)", file=sys.stderr, flush=True)
        return built


def bundle(
    images: Mapping[str, Image],
    targets: Sequence[str],
    archive: Path,
    environ: Mapping[str, str] = os.environ,
) -> Path:
    """One archive of several images, in which the layers that they share lie once: a node takes it sooner."""
    chosen = {images[target].reference: images[target].built for target in targets}
    return _saved(containers.find(environ), chosen, archive)


def _saved(engine: Containers, images: Mapping[str, Built], archive: Path) -> Path:
    """The archive; written only when the one that is there holds another image or another name."""
    stamp = archive.with_suffix(".id")
    wanted = "".join(f"{reference} {built.id}\n" for reference, built in images.items())
    if not (archive.is_file() and stamp.is_file() and stamp.read_text() == wanted):
        stamp.unlink(missing_ok=True)
        engine.save(list(images), archive)
        stamp.write_text(wanted)
    return archive


def _table(images: Mapping[str, Image], engine: Containers, base: str) -> str:
    below = engine.inspect(base).layers
    sizes = Sizes(engine, _CONTEXT / "layers.json")
    rows = [f"{'image':<40}{'unpacked':>10}{'added':>8}  (MB; added to the base, compressed)"]
    for image in images.values():
        # An image that does not start from the base adds all of its layers.
        ours = image.built.layers[len(below) :] if image.built.layers[: len(below)] == below else None
        added = sizes.added(image.reference, image.built, ours or image.built.layers)
        rows.append(f"{image.reference:<40}{image.built.size / 1e6:>10.1f}{added / 1e6:>8.1f}")
    return "\n".join(rows)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m pdscale_e2e.images", description="Build container images."
    )
    parser.add_argument(
        "targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)} (default: all)"
    )
    parser.add_argument("--tag", default=__version__, help="default: %(default)s")
    parser.add_argument("--prefix", default=PREFIX, help="in front of /TARGET:TAG (default: %(default)s)")
    parser.add_argument("--save", type=Path, metavar="FOLDER", help="also write FOLDER/TARGET.tar")
    parser.add_argument("--bundle", type=Path, metavar="FILE", help="also write one archive of all of them")
    given = parser.parse_args(argv)
    try:
        made = build(given.targets or TARGETS, tag=given.tag, prefix=given.prefix, save=given.save)
        if given.bundle:
            bundle(made, list(made), given.bundle)
        print(_table(made, containers.find(), os.environ.get("PYTHON_BASE_IMAGE") or BASE))
    except ImagesUnavailable as error:
        sys.exit(f"images: {error}")


if __name__ == "__main__":
    main()

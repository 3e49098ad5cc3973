"""Container images of the project, built without a network inside the build.

    python -m pdscale_e2e.images operator router --tag 0.1.0 --save build/images

Images are called ``localhost/pdscale/TARGET:TAG``. The prefix is spelled out because engines disagree
about names without one, and what a node finds under the name must be what was built here: nobody can
publish under ``localhost``, so a pod that asks for it gets the loaded image or an error.

With ``--compiled`` the router's image gets compiled modules (``compiled_wheel``) and has to show, before it
counts as built, that its Python loads them. The other images stay as they are.
"""

import argparse
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from pdscale import __version__
from pdscale_e2e import binaries, compiled_wheel, compiling, containers, sbom, unchanged, wheels
from pdscale_e2e.containers import Containers, ImagesUnavailable
from pdscale_e2e.image_making import COMPILED, Image, Maker, saved
from pdscale_e2e.layers import Sizes
from pdscale_e2e.unchanged import Stamps

__all__ = ["TARGETS", "Image", "ImagesUnavailable", "build"]

# In the order of the Dockerfile: some engines build every stage in front of the one that was asked for, so
# a target's ingredients are its own and those of the targets before it.
TARGETS: Final = ("router", "emulator", "operator", "e2e", "gpu-plugin", "endpoint-picker", "prometheus")
PREFIX: Final = "localhost/pdscale"
BASE: Final = "python:3.11-slim"
_CONTEXT: Final = wheels.ROOT / "build" / "images"


def build(
    targets: Sequence[str] = TARGETS,
    *,
    tag: str = __version__,
    prefix: str = PREFIX,
    save: Path | None = None,
    compiled: bool = False,
    environ: Mapping[str, str] = os.environ,
) -> Mapping[str, Image]:
    """Build ``targets`` from this checkout; what is there already is used again.

    Raises ``ImagesUnavailable`` if there is no engine, no base image or no wheel.
    """
    chosen = _in_order(targets)
    if compiled and COMPILED not in chosen:
        raise ImagesUnavailable(f"only the {COMPILED}'s image can be compiled, got {', '.join(chosen)}")
    engine = containers.find(environ)
    base = environ.get("PYTHON_BASE_IMAGE") or BASE
    own = _compiled(engine, base) if compiled else wheels.OWN  # first, since it may be refused
    _gather(chosen, engine, base)
    context = unchanged.digest(wheels.ROOT, base=engine.inspect(base).id)
    stamps = Stamps(_CONTEXT / "made", engine, context=context)
    maker = Maker(
        engine, stamps, sbom.Base.parse(base, engine.ask(base, sbom.PROBE)), save, own, _CONTEXT / "sbom"
    )
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
        if target in ("router", "operator", "endpoint-picker"):
            wheels.gather(target, wheels.requirements(target), interpreter)
        elif target == "gpu-plugin":
            wheels.gather(target, wheels.GPU_PLUGIN, interpreter)
        elif target == "prometheus":
            _prometheus()
    wheels.own_package()


def _compiled(engine: Containers, base: str) -> str:
    """The name of the folder of wheels."""
    try:
        return compiled_wheel.gather(wheels.Interpreter.parse(engine.ask(base, wheels.PROBE))).name
    except compiling.CannotCompile as error:
        raise ImagesUnavailable(f"{error}; or leave COMPILED off, for an image of plain Python") from error


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


def bundle(
    images: Mapping[str, Image],
    targets: Sequence[str],
    archive: Path,
    environ: Mapping[str, str] = os.environ,
) -> Path:
    """One archive of several images, in which the layers that they share lie once: a node takes it sooner."""
    chosen = {images[target].reference: images[target].built for target in targets}
    return saved(containers.find(environ), chosen, archive)


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
    parser.add_argument("--compiled", action="store_true", help="the router's image with compiled modules")
    given = parser.parse_args(argv)
    try:
        made = build(
            given.targets or TARGETS,
            tag=given.tag,
            prefix=given.prefix,
            save=given.save,
            compiled=given.compiled,
        )
        if given.bundle:
            bundle(made, list(made), given.bundle)
        for image in made.values():
            print(f"images: what is in {image.reference}: {image.bill}", file=sys.stderr)
        print(_table(made, containers.find(), os.environ.get("PYTHON_BASE_IMAGE") or BASE))
    except ImagesUnavailable as error:
        sys.exit(f"images: {error}")


if __name__ == "__main__":
    main()

"""The programs of the local cluster: found where the user keeps them, or built once from Go modules.

Kubernetes publishes its server programs as container images and as archives; neither suits a
machine without Docker, and an archive would have to be trusted by hand. The Go modules under
``e2e/tools`` pin versions and checksums, and build in some minutes with nothing but ``go``.

The programs of one module are always taken from one place: a controller manager that is newer than
its API server is not supported by Kubernetes.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pdscale_e2e.namespace import inside_namespace

TOOLS: Final = Path(__file__).resolve().parent.parent / "tools"
_VERSION: Final = "k8s.io/component-base/version"
_STRIP: Final = "-s -w"


class MissingTool(RuntimeError):
    """A program that the test bed needs is not there; the message says how to get it."""


@dataclass(frozen=True, slots=True)
class Module:
    """A folder under ``e2e/tools`` and the programs that it builds; ``of`` names another one's folder."""

    name: str
    programs: tuple[str, ...]
    package: str
    ldflags: str = _STRIP
    tags: str = ""
    of: str = ""

    @property
    def folder(self) -> Path:
        return TOOLS / (self.of or self.name)

    @property
    def key(self) -> str:
        """Changes with anything that could change the programs."""
        parts = [self.package, self.ldflags, self.tags, *self.programs]
        parts += [(self.folder / name).read_text() for name in ("go.mod", "go.sum")]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]

    def build_command(self, go: str, into: Path) -> list[str]:
        # A trailing separator makes go name each program after its package.
        output = f"{into}{os.sep}" if len(self.programs) > 1 else str(into / self.programs[0])
        flags = ["-mod=readonly", "-trimpath", "-ldflags", self.ldflags]
        flags += ["-tags", self.tags] if self.tags else []
        return [go, "build", *flags, "-o", output, self.package]


# Only the Kubernetes discovery: the others bring every cloud's SDK.
_PROMETHEUS_TAGS: Final = "netgo,remove_all_sd,enable_kubernetes_sd"

MODULES: Final = (
    Module("etcd", ("etcd",), "go.etcd.io/etcd/server/v3"),
    Module(
        "kubernetes",
        ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy"),
        "tool",
        # Without these the server calls itself v0.0.0-master, which clients do not believe.
        ldflags=f"{_STRIP} -X {_VERSION}.gitVersion=v1.36.2 -X {_VERSION}.gitMajor=1"
        f" -X {_VERSION}.gitMinor=36",
    ),
    Module("helm", ("helm",), "helm.sh/helm/v4/cmd/helm"),
    Module(
        "prometheus",
        ("prometheus",),
        "github.com/prometheus/prometheus/cmd/prometheus",
        tags=_PROMETHEUS_TAGS,
    ),
    # Beside it and not with it: 25 seconds after it, and only one test wants it.
    Module(
        "promtool",
        ("promtool",),
        "github.com/prometheus/prometheus/cmd/promtool",
        tags=_PROMETHEUS_TAGS,
        of="prometheus",
    ),
)

LOCAL_CLUSTER: Final = ("etcd", "kubernetes", "prometheus")  # what the command line builds unless told


def program(name: str) -> Path:
    """Where ``name`` is; builds its module first when it has to."""
    module = next((m for m in MODULES if name in m.programs), None)
    if module is None:
        raise MissingTool(f"no module under {TOOLS} builds {name!r}")
    return locate(module) / name


def locate(module: Module, environ: Mapping[str, str] = os.environ) -> Path:
    """The folder with all programs of ``module``."""
    assets = environ.get("KUBEBUILDER_ASSETS")
    if assets and _complete(Path(assets), module):
        return Path(assets)
    cached = cache_folder(environ) / f"{module.name}-{module.key}"
    if not _complete(cached, module):
        _build(module, cached, environ)
    return cached


def cache_folder(environ: Mapping[str, str] = os.environ) -> Path:
    base = environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "pdscale" / "tools"


def _complete(folder: Path, module: Module) -> bool:
    return all(os.access(folder / name, os.X_OK) for name in module.programs)


def _build(module: Module, into: Path, environ: Mapping[str, str]) -> None:
    wanted = ", ".join(module.programs)
    if inside_namespace(environ):
        raise MissingTool(
            f"{wanted} not built yet, and there is no network inside the namespace to build with; "
            "run `python -m pdscale_e2e.binaries` first"
        )
    go = shutil.which("go")
    if go is None:
        raise MissingTool(
            f"{wanted} not found: install Go (its version is in {module.folder / 'go.mod'}) and run "
            "`python -m pdscale_e2e.binaries`, or let KUBEBUILDER_ASSETS name a folder that holds "
            "the programs"
        )
    into.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=into.parent, prefix=f".{module.name}-") as scratch:
        built = Path(scratch) / "bin"
        built.mkdir()
        command = module.build_command(go, built)
        _run(command, module.folder, f"building {wanted} (some minutes the first time)")
        if not _complete(built, module):
            raise MissingTool(f"{module.folder} built, but not all of {wanted} came out")
        try:
            # All or nothing: an interrupted build leaves no half-filled folder behind.
            built.rename(into)
        except OSError:
            if not _complete(into, module):  # else another run was faster
                raise


def _run(command: Sequence[str], folder: Path, doing: str) -> None:
    began = time.monotonic()
    print(f"{doing} ...", file=sys.stderr, flush=True)
    with subprocess.Popen(command, cwd=folder, env={**os.environ, "CGO_ENABLED": "0"}) as build:
        try:
            while (code := _wait(build)) is None:
                elapsed = time.monotonic() - began
                print(f"{doing}: {elapsed:.0f} s so far", file=sys.stderr, flush=True)
        except BaseException:
            build.terminate()
            raise
    if code:
        raise MissingTool(f"{' '.join(command)} in {folder} ended with code {code}, see above")
    print(f"{doing}: done in {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)


def _wait(build: subprocess.Popen[bytes], seconds: float = 15) -> int | None:
    try:
        return build.wait(seconds)
    except subprocess.TimeoutExpired:
        return None


def main(wanted: Sequence[str]) -> None:
    try:
        for name in wanted or LOCAL_CLUSTER:
            print(locate(next(m for m in MODULES if m.name == name)))
    except MissingTool as error:
        sys.exit(str(error))
    except StopIteration:
        sys.exit(f"no such module; known are {', '.join(m.name for m in MODULES)}")


if __name__ == "__main__":
    main(sys.argv[1:])

"""Becomes a container: ``python -S -m pdscale_e2e.nodes.launch`` with a ``Launch`` as JSON on stdin.

The process gives itself a mount namespace, puts the pod's volumes where the container wants them, and
executes the container's command. The host's files stay visible, and none of its folders is written
to: where a mount point does not exist, the nearest folder above it is covered by an empty one that
shows all that was there before, and the mount point is made in that.

Only the standard library and no site packages: a start costs some 20 ms.
"""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Final, NoReturn

from pdscale_e2e import linux
from pdscale_e2e.linux import Mount, Namespace

# What container runtimes use for a command that could not be started.
START_FAILED: Final = 128


@dataclass(frozen=True, slots=True)
class Launch:
    """A command with its surroundings.

    ``mounts`` are pairs: a path on the host, a path inside. ``scratch`` is an empty folder, to build
    a root folder in if the container needs one of its own.
    """

    argv: Sequence[str]
    env: dict[str, str]
    cwd: str
    mounts: Sequence[tuple[str, str]]
    scratch: str

    def running(self, argv: Sequence[str]) -> "Launch":
        """Another command in the same surroundings."""
        return replace(self, argv=argv)

    def to_json(self) -> bytes:
        return json.dumps(asdict(self)).encode()


class _Mounts:
    """Puts volumes in place below ``root``, which is the host's root or a cover of it."""

    def __init__(self, scratch: str) -> None:
        self._scratch = scratch
        self._root = ""
        self._covers: set[int] = set()
        self._volumes: list[str] = []

    def apply(self, mounts: Sequence[tuple[str, str]]) -> None:
        # Outermost first, so that a mount inside another one is not hidden by it.
        pairs = sorted((os.path.realpath(inside), source) for source, inside in mounts)
        if any(_existing_part(target) == "/" for target, _ in pairs):
            self._cover("/", onto=self._scratch)
            self._root = self._scratch
        for target, source in pairs:
            if not os.path.exists(self._root + target):
                self._make_mount_point(target, is_folder=os.path.isdir(source))
            linux.mount(source, self._root + target, flags=Mount.BIND | Mount.RECURSIVE)
            self._volumes.append(target)
        if self._root:
            os.chroot(self._root)

    def _make_mount_point(self, target: str, *, is_folder: bool) -> None:
        above = _existing_part(target, self._root)
        if not self._is_ours(above):
            self._cover(self._root + above, onto=self._root + above)
        inside = self._root + target
        os.makedirs(inside if is_folder else os.path.dirname(inside), exist_ok=True)
        if not is_folder:
            with open(inside, "xb"):
                pass

    def _is_ours(self, folder: str) -> bool:
        """Folders made in a cover are on the cover's device; the host's, shown in it, are not."""
        in_volume = any(f"{folder}/".startswith(f"{volume}/") for volume in self._volumes)
        return in_volume or os.stat(self._root + (folder or "/")).st_dev in self._covers

    def _cover(self, folder: str, *, onto: str) -> None:
        below = os.open(folder, os.O_PATH | os.O_DIRECTORY)
        entries = [
            (entry.name, os.readlink(entry) if entry.is_symlink() else None, entry.is_dir())
            for entry in os.scandir(folder)
        ]
        linux.mount("tmpfs", onto, "tmpfs")
        self._covers.add(os.stat(onto).st_dev)
        for name, link, is_folder in entries:
            shown = f"{onto}/{name}"
            if link is not None:
                os.symlink(link, shown)
                continue
            if is_folder:
                os.mkdir(shown)
            else:
                os.close(os.open(shown, os.O_CREAT, 0o600))
            linux.mount(f"/proc/self/fd/{below}/{name}", shown, flags=Mount.BIND | Mount.RECURSIVE)
        os.close(below)


def _existing_part(path: str, root: str = "") -> str:
    while not os.path.isdir(root + path):
        path = os.path.dirname(path)
    return path


def run(launch: Launch) -> NoReturn:
    linux.die_with_parent()
    linux.unshare(Namespace.MOUNT)
    linux.keep_mounts_private()
    _Mounts(launch.scratch).apply(launch.mounts)
    os.chdir(launch.cwd)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.execvpe(launch.argv[0], list(launch.argv), launch.env)


def main() -> NoReturn:
    launch = Launch(**json.load(sys.stdin))
    try:
        run(launch)
    except OSError as error:
        print(f"cannot start {launch.argv[0]!r}: {error}", file=sys.stderr, flush=True)
        os._exit(START_FAILED)


if __name__ == "__main__":
    main()

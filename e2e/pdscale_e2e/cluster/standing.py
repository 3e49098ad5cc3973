"""A cluster that is there already, as processes tell one another of it.

Whoever makes a cluster for several test processes writes down what they must know and names the file in
``PDSCALE_E2E_STANDING``; ``open_cluster`` then joins that cluster, and to close it ends only what the joining
process has added. Where the maker could make none, ``PDSCALE_E2E_UNAVAILABLE`` says why.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

VARIABLE: Final = "PDSCALE_E2E_STANDING"
UNAVAILABLE: Final = "PDSCALE_E2E_UNAVAILABLE"


@dataclass(frozen=True, slots=True)
class Standing:
    """What the maker knows: its administrator's kubeconfig, the folder of logs, images by name."""

    kubeconfig: Path
    logs: Path
    images: Mapping[str, str]

    def write(self, path: Path) -> None:
        content = {"kubeconfig": str(self.kubeconfig), "logs": str(self.logs), "images": dict(self.images)}
        path.write_text(json.dumps(content, indent=1))

    @classmethod
    def read(cls, path: Path) -> "Standing":
        content = json.loads(path.read_text())
        return cls(Path(content["kubeconfig"]), Path(content["logs"]), content["images"])


def named(environ: Mapping[str, str]) -> Standing | None:
    """The cluster that this process is to join, if there is one."""
    path = environ.get(VARIABLE)
    return Standing.read(Path(path)) if path else None

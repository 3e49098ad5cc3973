"""The test bed's own objects as YAML, for a cluster that somebody makes by hand.

    python -m pdscale_e2e.manifests gpu-plugin prometheus | kubectl apply --server-side -f -

They are the objects that the kind provider and the tests put on a cluster, with the images of ``make image``.
"""

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import yaml

from pdscale import __version__
from pdscale_e2e import monitoring
from pdscale_e2e.gpu_plugin.manifest import daemonset
from pdscale_e2e.images import PREFIX
from pdscale_e2e.install import Manifest

GPUS: Final = 8
SELECTOR: Final = {"pdscale.io/nodes": "process"}


def _image(target: str) -> str:
    return f"{PREFIX}/{target}:{__version__}"


PARTS: Final[Mapping[str, Callable[[], Iterable[Manifest]]]] = {
    "gpu-plugin": lambda: daemonset(_image("gpu-plugin"), gpus=GPUS, selector=SELECTOR),
    "prometheus": lambda: monitoring.manifests(_image("prometheus")),
}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m pdscale_e2e.manifests", description="Print the test bed's own objects."
    )
    parser.add_argument("parts", nargs="+", choices=sorted(PARTS), metavar="PART", help=", ".join(PARTS))
    given = parser.parse_args(argv)
    yaml.safe_dump_all(
        [manifest for part in given.parts for manifest in PARTS[part]()], sys.stdout, sort_keys=False
    )


if __name__ == "__main__":
    main()

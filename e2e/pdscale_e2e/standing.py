"""The product on a cluster, made once around a command: ``python -m pdscale_e2e.standing COMMAND...``.

Test processes that the command starts side by side find it by ``PDSCALE_E2E_STANDING`` and join it. It goes
when the command has ended, whose exit status is this one's. Where no cluster can be had the command runs all
the same, so that every test says why it was skipped or has failed.

Interrupts belong to the command: it ends, and then the cluster does. Whoever is told to terminate interrupts
the command first, so that nothing is left.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from pdscale_e2e.cluster import Cluster, ClusterUnavailable, open_cluster
from pdscale_e2e.cluster.kind import KindCluster
from pdscale_e2e.cluster.standing import UNAVAILABLE, VARIABLE
from pdscale_e2e.product import product_on


def main(argv: Sequence[str] | None = None) -> int:
    command = list(sys.argv[1:] if argv is None else argv)
    if not command:
        sys.exit("usage: python -m pdscale_e2e.standing COMMAND [ARGUMENT...]")
    # A shell's background jobs ignore interrupts, and so would the command.
    with _handling(signal.SIGINT, signal.default_int_handler), _handling(signal.SIGTERM, _terminated):
        return _around(command)


def _around(command: Sequence[str]) -> int:
    began = time.monotonic()
    try:
        cluster = open_cluster({"PDSCALE_E2E_CLUSTER": "kind", **os.environ})
    except ClusterUnavailable as error:
        return _run(command, {UNAVAILABLE: str(error)})
    try:
        with product_on(cluster), _written(cluster) as path:
            _say(f"cluster, Prometheus and operator are ready after {time.monotonic() - began:.0f} s")
            code = _run(command, {VARIABLE: str(path)})
            ended = time.monotonic()
    finally:
        cluster.stop()
    _say(f"all of it is gone after {time.monotonic() - ended:.0f} s")
    return code


@contextmanager
def _written(cluster: Cluster) -> Iterator[Path]:
    """The file that says where it is; locks of the lanes lie beside it."""
    if not isinstance(cluster, KindCluster):
        raise SystemExit("standing: only the provider kind can be joined, see PDSCALE_E2E_CLUSTER")
    with tempfile.TemporaryDirectory(prefix="pdscale-standing-") as folder:
        path = Path(folder) / "standing.json"
        cluster.standing.write(path)
        yield path


def _run(command: Sequence[str], environ: Mapping[str, str]) -> int:
    with subprocess.Popen(command, env={**os.environ, **environ}) as running:

        def interrupt(*_: object) -> None:
            running.send_signal(signal.SIGINT)

        with _handling(signal.SIGINT, signal.SIG_IGN), _handling(signal.SIGTERM, interrupt):
            return running.wait()


@contextmanager
def _handling(number: signal.Signals, handler: Any) -> Iterator[None]:
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)


def _terminated(*_: object) -> NoReturn:
    """As any exit: what was begun is taken down again."""
    sys.exit(128 + signal.SIGTERM)


def _say(what: str) -> None:
    print(f"standing: {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())

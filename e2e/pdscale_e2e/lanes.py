"""Tests that run side by side on one cluster: what each lane has for itself, and whose turn it is.

A lane is one worker process of pytest-xdist. It has status nodes of its own, so that a test may fill them,
and shares the workers, Prometheus and the operator with the others. A test that takes one of these away from
everybody says so by the mark ``disturbs`` and runs while no other lane uses it; without lanes nobody waits.

Locks are the kernel's, on files: one that dies gives back what it held.
"""

import fcntl
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Final

from pdscale_e2e.waiting import eventually

LABEL: Final = "pdscale.io/lane"
_PATIENCE: Final = 480.0  # a lane may be in the middle of its longest tests


class Shared(StrEnum):
    """What all lanes use: operator, Prometheus and API server; the nodes that run pods."""

    PRODUCT = "product"
    WORKERS = "workers"


def lane(environ: Mapping[str, str] = os.environ) -> str:
    """This process's lane; ``alone`` where there are none."""
    return environ.get("PYTEST_XDIST_WORKER", "alone")


@contextmanager
def waited_turn(
    folder: Path, *, uses: Iterable[Shared], disturbs: Iterable[Shared], who: str
) -> Iterator[None]:
    """Wait for it. Hold everything that is used, for oneself what is disturbed; always in the same order."""
    alone, wanted = frozenset(disturbs), {*uses, *disturbs}
    with ExitStack() as held:
        for each in sorted(wanted):
            held.enter_context(_hold(folder / f"{each}.lock", each, alone=each in alone, who=who))
        yield


@contextmanager
def _hold(path: Path, what: Shared, *, alone: bool, who: str) -> Iterator[None]:
    kind = fcntl.LOCK_EX if alone else fcntl.LOCK_SH

    def held() -> bool:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    with path.open("a") as file:
        eventually(held, within=_PATIENCE, what=f"{who} may {'disturb' if alone else 'use'} the {what}")
        yield

"""Ours twice in one table: from its sources, and with the modules that ``make compiled`` compiles.

The second one runs by the same command; only where its processes look for the package is another place.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from benchmarks.router.site import Stack

COMPILED: Final = "-compiled"


def with_compiled(stacks: Sequence[Stack], folder: Path) -> tuple[Stack, ...]:
    """Each of ours followed by what ``folder`` makes of it. Extra ones once: the table has enough rows."""
    pairs = ((s, replace(s, name=s.name + COMPILED, imports=folder)) for s in stacks)
    return tuple(s for pair in pairs for s in (pair if pair[0].ours and not pair[0].extra else pair[:1]))


def both(names: Sequence[str]) -> tuple[str, ...]:
    """The stacks' names, and those of their compiled twins."""
    return (*names, *(name + COMPILED for name in names))

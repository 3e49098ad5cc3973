"""What an image's Python has: the packages that its requirements need, read from what is installed here."""

from collections.abc import Iterable, Iterator
from importlib.metadata import distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def needed(wanted: Iterable[str]) -> Iterator[str]:
    """Names of these requirements and of all that they need on this Python; their extras aside."""
    left, seen = [Requirement(text) for text in wanted], set()
    while left:
        requirement = left.pop()
        name = canonicalize_name(requirement.name)
        if name in seen or not (requirement.marker is None or requirement.marker.evaluate({"extra": ""})):
            continue
        seen.add(name)
        yield name
        left += map(Requirement, distribution(name).requires or [])

"""A value inside a JSON document together with where it stands, so that every refusal names the place."""

import math
from collections.abc import Iterator
from dataclasses import dataclass


class DocumentError(ValueError):
    """The document cannot be used; the message names it and the place in it."""


@dataclass(frozen=True, slots=True)
class Place:
    """``value`` at ``path`` of the document that errors call ``source``."""

    source: str
    value: object
    path: str = ""

    def wrong(self, expected: str) -> DocumentError:
        where = self.path or "document"
        return DocumentError(f"{self.source}, {where}: must be {expected}, got {str(self.value)[:80]!r}")

    def __getitem__(self, key: str) -> "Place":
        """A member that must be there."""
        members = self._members()
        if key not in members:
            known = ", ".join(map(str, members)) or "none"
            raise DocumentError(f"{self.source}, {self._under(key)}: is missing; there are: {known}")
        return Place(self.source, members[key], self._under(key))

    def __contains__(self, key: str) -> bool:
        return key in self._members()

    def items(self) -> Iterator[tuple[str, "Place"]]:
        for key, value in self._members().items():
            yield str(key), Place(self.source, value, self._under(str(key)))

    def elements(self) -> list["Place"]:
        if not isinstance(self.value, list):
            raise self.wrong("a list")
        return [Place(self.source, value, f"{self.path}[{i}]") for i, value in enumerate(self.value)]

    def text(self) -> str:
        if not isinstance(self.value, str):
            raise self.wrong("a text")
        return self.value

    def number(self, *, least: float = -math.inf) -> float:
        value = self.value
        if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
            raise self.wrong("a finite number")
        if value < least:
            raise self.wrong(f"at least {least:g}")
        return float(value)

    def numbers(self, *, least: float = -math.inf) -> list[float]:
        return [element.number(least=least) for element in self.elements()]

    def bound(self) -> float:
        """The upper end of a range: a number, or null for no end."""
        return math.inf if self.value is None else self.number(least=0)

    def _members(self) -> dict[object, object]:
        if not isinstance(self.value, dict):
            raise self.wrong("an object")
        return self.value

    def _under(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key

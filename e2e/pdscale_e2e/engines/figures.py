"""What an engine or a router says of itself: its metrics, by name and labels."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pdscale_e2e.asking import ask

_SAMPLE: Final = re.compile(r"([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)")
_LABEL: Final = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True, slots=True)
class Sample:
    name: str
    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True, slots=True)
class Figures:
    """One look at a metrics page. ``types`` are as the page declares them, by family."""

    samples: tuple[Sample, ...]
    types: Mapping[str, str]

    def total(self, name: str, **labels: str) -> float:
        """The sum over all series of this name with these labels; an absent one is an error, not a zero."""
        found = [s.value for s in self.samples if s.name == name and labels.items() <= s.labels.items()]
        if not found:
            raise LookupError(f"no series {name} with {labels}")
        return sum(found)


def read_figures(text: str) -> Figures:
    types, samples = {}, []
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, family, kind = line.split(maxsplit=3)
            types[family] = kind
        elif line and not line.startswith("#"):
            match = _SAMPLE.match(line)
            if match is None:
                raise ValueError(f"a metrics page must consist of samples, got {line!r}")
            labels = dict(_LABEL.findall(match[2] or ""))
            samples.append(Sample(match[1], labels, float(match[3])))
    return Figures(tuple(samples), types)


def figures(url: str) -> Figures:
    """``url`` without ``/metrics``."""
    return read_figures(ask("GET", f"{url}/metrics", timeout=20).decode())

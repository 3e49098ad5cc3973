"""Kinds of replica that a plan may choose from: a profile, the GPUs of one replica, and what they cost."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from pdscale.perf.builtin import BUILTIN
from pdscale.scenarios.fields import number

_TP: Final = re.compile(r"(?:^|[-_])tp([0-9]+)(?=[-_.]|$)")
_price: Final = number(above=0)


@dataclass(frozen=True, slots=True)
class Kind:
    """A profile that replicas may have, as ``--profile`` named it, and the GPUs that one of them holds: its
    tensor-parallel degree. ``price`` is of one of them for an hour; GPUs cost alike where nobody says."""

    name: str
    gpus: int
    price: float = 1.0

    @property
    def label(self) -> str:
        return self.name if self.name in BUILTIN else Path(self.name).name


def kind(raw: str) -> Kind:
    """``NAME``, ``NAME=GPUS``: without a number the ``tp4`` of the name, or 1 if it is built in."""
    found = re.fullmatch(r"(.+?)(?:=([0-9]+))?", raw)
    if found is None:
        raise ValueError(f"must be NAME, PATH, NAME=GPUS or PATH=GPUS, got {raw!r}")
    name = found[1]
    degree = _TP.search(name if name in BUILTIN else Path(name).name)
    if found[2] is None and degree is None and name not in BUILTIN:
        raise ValueError(f"GPUs of a replica of {name!r} are not known; say it as {name}=GPUS")
    gpus = int(found[2] or (degree[1] if degree else 1))
    if gpus < 1:
        raise ValueError(f"a replica must have at least 1 GPU, got {raw!r}")
    return Kind(name, gpus)


def priced(kinds: tuple[Kind, ...], prices: Sequence[str]) -> tuple[Kind, ...]:
    """``AMOUNT`` for all, or ``NAME=AMOUNT`` for each: a sum needs the price of every one."""
    found: dict[str, float] = {}
    for raw in prices:
        name, _, amount = raw.rpartition("=")
        price: float = _price(amount)
        named = [kind.name for kind in kinds if name in ("", kind.name, kind.label)]
        if not named:
            known = ", ".join(kind.label for kind in kinds)
            raise ValueError(f"{name!r} is no --profile; there are: {known}")
        found |= dict.fromkeys(named, price)
    if found and (unknown := [kind.label for kind in kinds if kind.name not in found]):
        raise ValueError(f"must be given for all profiles or for none, {', '.join(unknown)} has none")
    return tuple(replace(kind, price=found.get(kind.name, 1.0)) for kind in kinds)

"""The largest load at which a rule still attains a target: goodput as the papers define it.

Found by bisection on the first seed, then run once on each further seed at the load that was found, since a
search keeps the luck of its seed. Loads are factors on the traffic as given; a rule's rate is of rounds.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pdscale.scenarios.runs import Case, Row, run_case
from pdscale.scenarios.settings import PlacementName, ScalingName, Settings
from pdscale.scenarios.tables import SCHEMA, aligned, told
from pdscale.sim.search import Largest, largest_load


@dataclass(frozen=True, slots=True)
class Asked:
    """One search. ``low`` and ``high`` are the loads that it begins between."""

    placement: PlacementName
    scaling: ScalingName
    target: float
    strict: bool
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Goodput:
    """``found`` is ``None`` if even the least load tried misses the target; ``rate`` is of rounds per second
    there, ``others`` the further seeds' attainments."""

    asked: Asked
    found: Largest | None
    rate: float
    others: tuple[float, ...]


def goodput_of(settings: Settings, asked: Asked) -> Goodput:
    """The search on the first seed, the others as a check."""
    rows: dict[tuple[float, int], Row] = {}

    def attained(load: float, seed: int) -> float:
        row = rows.get((load, seed)) or run_case(settings, Case(asked.placement, asked.scaling, load, seed))
        rows[load, seed] = row
        return row.verdict.strict_attainment if asked.strict else row.verdict.attainment

    first, *others = settings.seed
    found = largest_load(
        lambda load: attained(load, first), target=asked.target, low=asked.low, high=asked.high
    )
    if found is None:
        return Goodput(asked, None, 0.0, ())
    checked = tuple(attained(found.load, seed) for seed in others)
    rate = rows[found.load, first].verdict.rate
    return Goodput(asked, found, rate, checked)


def record(g: Goodput) -> dict[str, Any]:
    """One search, flat; ``None`` where nothing was found."""
    return {
        "placement": str(g.asked.placement),
        "scaling": str(g.asked.scaling),
        "target": g.asked.target,
        "strict": g.asked.strict,
        "load": g.found.load if g.found else None,
        "at_most": g.found.at_most if g.found else None,
        "attainment": g.found.attainment if g.found else None,
        "rate": g.rate if g.found else None,
        "other_seeds": list(g.others),
    }


def as_json(settings: Settings, found: Sequence[Goodput]) -> str:
    document = {"schema": SCHEMA, "settings": told(settings), "goodput": [record(g) for g in found]}
    return json.dumps(document, indent=2, allow_nan=False) + "\n"


def as_text(found: Sequence[Goodput]) -> str:
    return aligned(
        [["placement", "scaling", "goal", "load", "rounds/s", "other seeds %"], *_lines(found)], left=2
    )


def _lines(found: Sequence[Goodput]) -> Iterator[list[str]]:
    for g in found:
        goal = f"{g.asked.target:.0%}{' strict' if g.asked.strict else ''}"
        load = "-" if g.found is None else f"{g.found.load:.2f}"
        rate = "-" if g.found is None else f"{g.rate:.2f}"
        others = " ".join(f"{share * 100:.1f}" for share in g.others) or "-"
        yield [str(g.asked.placement), str(g.asked.scaling), goal, load, rate, others]

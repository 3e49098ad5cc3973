"""Which runs a comparison consists of.

A star and not a grid: every placement with the first scaling rule named, and every scaling rule with the
first placement named. Two questions, answered apart; a grid of all answers neither more clearly and takes
ten times as long. Not named means all, with the product's own placement and the fleet left alone in the
middle."""

from pdscale.scenarios.fields import InvalidScenario
from pdscale.scenarios.runs import Case
from pdscale.scenarios.settings import (
    ALL_PLACEMENTS,
    ALL_SCALINGS,
    HELD,
    PlacementName,
    ScalingName,
    Settings,
)

Pair = tuple[PlacementName, ScalingName]


def the_only(settings: Settings) -> Case:
    """What ``simulate`` runs."""
    for name in ("placement", "scaling", "load", "seed"):
        given = getattr(settings, name)
        if len(given) > 1:
            raise InvalidScenario(
                f"--{name}: simulate takes one, got {len(given)}; pdscale compare takes several"
            )
    return Case(
        (*settings.placement, PlacementName.COST_BASED)[0],
        (*settings.scaling, ScalingName.STATIC)[0],
        settings.load[0],
        settings.seed[0],
    )


def pairs_of(settings: Settings, *, grid: bool) -> list[Pair]:
    placements = settings.placement or ALL_PLACEMENTS
    scalings = settings.scaling or ALL_SCALINGS
    if grid:
        pairs = [(p, s) for p in placements for s in scalings]
    else:
        pairs = [(p, scalings[0]) for p in placements] + [(placements[0], s) for s in scalings]
    return [pair for pair in dict.fromkeys(pairs) if not _senseless(pair, alone=len(pairs) == 1)]


def cases_of(settings: Settings, *, grid: bool) -> list[Case]:
    return [
        Case(placement, scaling, load, seed)
        for placement, scaling in pairs_of(settings, grid=grid)
        for load in settings.load
        for seed in settings.seed
    ]


def _senseless(pair: Pair, *, alone: bool) -> bool:
    """Colocated engines are one pool: rules for two have nothing to say. Alone it is refused later."""
    placement, scaling = pair
    return placement is PlacementName.COLOCATED and scaling not in HELD and not alone

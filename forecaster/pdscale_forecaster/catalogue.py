"""All models by name. A new one is a file under ``models`` and a line here."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from pdscale_forecaster.models import (
    Boosting,
    Ensemble,
    LastValue,
    Level,
    Model,
    MovingMaximum,
    QuantileLines,
    RidgeLags,
    SeasonalNaive,
)

AUTO: Final = "Auto"

# By steps ahead and samples of a season. Simplest first.
MODELS: Final[Mapping[str, Callable[[int, int | None], Model | Ensemble]]] = MappingProxyType(
    {
        "LastValue": lambda steps, _season: LastValue(steps),
        "Level": lambda steps, _season: Level(steps),
        "MovingMaximum": lambda steps, _season: MovingMaximum(steps, window=max(3, steps)),
        "Ridge": lambda steps, season: RidgeLags(steps, season=season),
        "SeasonalNaive": lambda steps, season: SeasonalNaive(steps, season=season),
        "SeasonalNaiveWeek": lambda steps, season: SeasonalNaive(steps, season=season and 7 * season),
        "QuantileLines": lambda steps, season: QuantileLines(steps, season=season),
        "Boosting": lambda steps, season: Boosting(steps, season=season),
        "Ensemble": lambda _steps, _season: Ensemble(("Level", "QuantileLines", "Boosting")),
    }
)


def wanted(name: str, steps: int, season: int | None, *, known: int) -> dict[str, Model | Ensemble]:
    """The model of that name and its members, or every model able to speak of ``known`` samples.

    In the order of preference: ensembles, then the simplest first; but further ahead than one sample the
    level, which alone knows from errors one sample ahead how wide it has to be.
    """
    made = {each: build(steps, season) for each, build in MODELS.items()}
    if name != AUTO:
        asked = made[name]
        members = asked.members if isinstance(asked, Ensemble) else ()
        return {each: model for each, model in made.items() if each == name or each in members}
    able = {
        each: model
        for each, model in made.items()
        if isinstance(model, Model) and _able(model, season, known)
    }
    if steps > 1:
        able = {"Level": able["Level"]} | able
    joint = {
        each: model
        for each, model in made.items()
        if isinstance(model, Ensemble) and able.keys() >= set(model.members)
    }
    return joint | able


def _able(model: Model, season: int | None, known: int) -> bool:
    return known >= model.least and not (isinstance(model, SeasonalNaive) and season is None)

"""What forecasts of a load would have been worth: rolling origin, every model at every lead time.

At each origin one forecaster per lead time sees the samples up to it and nothing else; all its models speak,
and the one that it would have chosen is ``Auto``. Models are compared on the origins at which all of them
spoke.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import numpy as np

from pdscale.model.units import Seconds
from pdscale.scenarios.fields import InvalidScenario
from pdscale.scenarios.forecasts.asked import Asked
from pdscale.scenarios.forecasts.foretelling import forecaster
from pdscale.scenarios.forecasts.reading import Load
from pdscale_forecaster import AUTO, MODELS, Forecast, Forecaster, Series, TooShort
from pdscale_forecaster.losses import coverage, pinball, wape
from pdscale_forecaster.rolling import origins, rolling

YARDSTICK: Final = "LastValue"


@dataclass(frozen=True, slots=True)
class Score:
    """One model at one lead time over ``origins`` forecasts.

    ``pinball`` is in the load's unit; ``gain`` is the share of the yardstick's pinball loss that it saves,
    NaN where there is no loss to save. ``chosen`` counts who spoke for ``Auto``.
    """

    lead: Seconds
    model: str
    origins: int
    pinball: float
    gain: float
    coverage: float
    wape: float
    chosen: tuple[tuple[str, int], ...] = ()


@dataclass(slots=True)
class _Said:
    """Forecasts of one lead time by model, and what came, origin by origin."""

    origins: list[int] = field(default_factory=list)
    came: list[float] = field(default_factory=list)
    by_model: list[dict[str, Forecast]] = field(default_factory=list)
    short: str = ""


@dataclass(frozen=True, slots=True)
class Scored:
    """``short`` says of a lead time without scores why there are none. ``lived`` has (instant, said, came)
    of ``Auto``, or else of the yardstick, at the first lead time that has any, for a plot."""

    scores: tuple[Score, ...]
    short: tuple[tuple[Seconds, str], ...]
    lived: tuple[tuple[Seconds, float, float], ...]


def score(load: Load, asked: Asked, tell: Callable[[float], None] = lambda _: None) -> Scored:
    """``tell`` hears the share that is done."""
    models = models_of(asked)
    scores: list[Score] = []
    short: list[tuple[Seconds, str]] = []
    lived: tuple[tuple[Seconds, float, float], ...] = ()
    for done, lead in enumerate(asked.lead):
        part = partial(_part, tell, done, len(asked.lead))
        said = _lived(load.series, asked, lead, _origins(load.series, asked, lead), part)
        if not said.came:
            short.append((lead, said.short or "no origin has both a known sample and a known outcome"))
            continue
        scores += _judged(lead, said, models, asked.quantile)
        lived = lived or _curve(load.series, lead, said)
    return Scored(tuple(scores), tuple(short), lived)


def _part(tell: Callable[[float], None], done: int, of: int, share: float) -> None:
    tell((done + share) / of)


def models_of(asked: Asked) -> tuple[str, ...]:
    """Those that were asked for, or all; an unknown one is refused."""
    for name in asked.models:
        if name not in (AUTO, *MODELS):
            raise InvalidScenario(f"--models: must be among {', '.join((AUTO, *MODELS))}, got {name}")
    return asked.models or (AUTO, *MODELS)


def _origins(series: Series, asked: Asked, lead: Seconds) -> list[int]:
    """Instants to forecast from, evenly over the part that is judged."""
    first, steps = int(asked.skip * len(series.values)), series.steps(lead)
    every = max(1, math.ceil((len(series.values) - steps - first) / asked.origins))
    return origins(series, steps=steps, first=first, every=every)


def _panel(asked: Asked, lead: Seconds) -> Callable[[Series], dict[str, Forecast] | TooShort]:
    """What each model that is asked for says of a series; ``Auto`` needs all of them, at their price."""
    names = dict.fromkeys((*models_of(asked), YARDSTICK))
    if AUTO not in names:
        each = {name: forecaster(asked, lead, asked.quantile, name) for name in names}
        return partial(_alone, each)
    return forecaster(asked, lead, asked.quantile, AUTO).candidates


def _alone(each: Mapping[str, Forecaster], seen: Series) -> dict[str, Forecast] | TooShort:
    said = {name: one.forecast(seen) for name, one in each.items()}
    known = {name: verdict for name, verdict in said.items() if isinstance(verdict, Forecast)}
    short = (verdict for verdict in said.values() if isinstance(verdict, TooShort))
    return known if YARDSTICK in known else next(short)


def _lived(
    series: Series, asked: Asked, lead: Seconds, at: Sequence[int], tell: Callable[[float], None]
) -> _Said:
    said = _Said()
    walk = rolling(series, at, steps=series.steps(lead), say=_panel(asked, lead))
    for done, (origin, every, came) in enumerate(walk, 1):
        tell(done / len(at))
        if isinstance(every, TooShort):
            said.short = every.reason
            continue
        said.origins.append(origin)
        said.by_model.append(every)
        said.came.append(came)
    return said


def _judged(lead: Seconds, said: _Said, models: Sequence[str], quantile: float) -> Iterator[Score]:
    """A model that was able to speak at some origins only is left out: it would be judged on others."""
    able = [m for m in models if all(m in each for each in said.by_model)]
    losses = {m: _loss(said, m, quantile) for m in {*able, YARDSTICK} if m in said.by_model[0]}
    came, base = np.array(said.came), losses.get(YARDSTICK, math.nan)
    for model in able:
        high = np.array([each[model].value for each in said.by_model])
        middle = np.array([each[model].point for each in said.by_model])
        spoke = Counter(each[model].model for each in said.by_model) if model == AUTO else Counter[str]()
        yield Score(
            lead,
            model,
            len(said.came),
            pinball=losses[model],
            gain=1 - losses[model] / base if base > 0 else math.nan,
            coverage=coverage(came, high),
            wape=wape(came, middle),
            chosen=tuple(spoke.most_common()),
        )


def _loss(said: _Said, model: str, quantile: float) -> float:
    high = np.array([each[model].value for each in said.by_model])
    return pinball(np.array(said.came), high, quantile)


def _curve(series: Series, lead: Seconds, said: _Said) -> tuple[tuple[Seconds, float, float], ...]:
    return tuple(
        (series.start + origin * series.step + lead, each.get(AUTO, each[YARDSTICK]).value, came)
        for origin, each, came in zip(said.origins, said.by_model, said.came, strict=True)
    )

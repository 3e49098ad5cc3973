"""How fast a replica is: for the engines of a run, and for the policies and planners that have to guess.

Policies know a `Profile`, a fit. Engines take whatever was measured: a grid is interpolated for them. With
``slowdown`` the engines are slower than anybody thinks.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from pdscale.perf.builtin import BUILTIN, GRIDS
from pdscale.perf.engine import Engine
from pdscale.perf.grid import GridModel
from pdscale.perf.model import PerformanceModel
from pdscale.perf.profile import Profile
from pdscale.perf.scaled import Scaled
from pdscale.scenarios.fields import InvalidScenario
from pdscale.scenarios.settings import Settings
from pdscale.sim.limits import EngineSetup
from pdscale.workload.load import UnknownEngine, load_fit, load_model


@dataclass(frozen=True, slots=True)
class Models:
    """``engine`` times the run, ``profile`` is what its policies believe."""

    engine: PerformanceModel
    profile: Profile


def models_of(settings: Settings) -> Models:
    found = _models(settings.profile, settings.entry, settings.engine, settings.bandwidth)
    if settings.slowdown == 1:
        return found
    return replace(found, engine=Scaled(found.engine, settings.slowdown))


def setup_of(settings: Settings, model: PerformanceModel) -> EngineSetup:
    try:
        return EngineSetup(
            model, kv_share=settings.kv_share, chunking=settings.chunking, noise=settings.noise
        )
    except ValueError as error:
        raise InvalidScenario(f"--profile {model.name}: {error}") from error


@lru_cache(maxsize=4)
def _models(name: str, entry: str | None, engine: str | None, bandwidth: float | None) -> Models:
    if name in BUILTIN:
        profile = _at(BUILTIN[name], bandwidth)
        return Models(profile, profile)
    path = Path(name).expanduser()
    if not path.exists():
        raise InvalidScenario(
            f"--profile: {name} is neither a file nor a built-in profile; these are built in: "
            f"{', '.join(sorted(BUILTIN))}"
        )
    if engine is not None and engine not in BUILTIN:
        raise InvalidScenario(f"--engine: must be one of {', '.join(sorted(BUILTIN))}, got {engine!r}")
    try:
        return _of_file(path, entry, engine, bandwidth)
    except UnknownEngine as error:
        flag = "--entry" if "entry must" in str(error) else "--engine"
        raise InvalidScenario(f"--profile: {error}; {flag} NAME says it") from error
    except ValueError as error:
        raise InvalidScenario(f"--profile: {error}") from error


def _of_file(path: Path, entry: str | None, engine: str | None, bandwidth: float | None) -> Models:
    """Grids are read twice: to know that they are grids, and with the network that was asked for."""
    said = None if engine is None else Engine.of(_at(BUILTIN[engine], bandwidth))
    model = load_model(path, entry=entry, engine=said)
    if not isinstance(model, GridModel):
        return Models(_at(model, bandwidth), _at(model, bandwidth))
    known = said or Engine.of(_at(BUILTIN[GRIDS[_stem(path)]], bandwidth))
    return Models(load_model(path, engine=known), load_fit(path, engine=known).profile)


def _stem(path: Path) -> str:
    return path.name.split(".", 1)[0].removeprefix("grid_")


def _at(profile: Profile, bandwidth: float | None) -> Profile:
    return profile if bandwidth is None else replace(profile, transfer_bandwidth=bandwidth)

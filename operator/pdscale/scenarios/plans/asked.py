"""What can be asked of ``pdscale plan``: flags and a scenario file to one frozen value.

Traffic, engines, placement and SLO are a simulation's own settings. What a plan finds by itself (numbers of
replicas, GPUs of a replica, who scales) is no flag here, and is passed over in a scenario file, so that one
file serves ``compare`` and ``plan``. ``profile`` may name several, in the file as a list."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from pdscale.model.units import Seconds
from pdscale.scenarios.fields import (
    InvalidScenario,
    count,
    duration,
    flag,
    given_flags,
    parsed,
    several,
    yes_or_no,
)
from pdscale.scenarios.plans.kinds import Kind, kind, priced
from pdscale.scenarios.reading import read_settings
from pdscale.scenarios.settings import FIELDS, PlacementName, Settings

MOST_GPUS: Final = 1024  # the table of fleets grows with the square; 1024 take a second per pair of profiles
_CHOSEN: Final = {
    "prefill": "1",
    "decode": "1",
    "gpus-prefill": "1",
    "gpus-decode": "1",
    "min-prefill": "0",
    "min-decode": "1",
    "max-prefill": "0",
    "max-decode": "0",
    "gpu-budget": "0",
}  # what is chosen here; the texts are a smallest fleet, which is always a valid one
_OF_SCALING: Final = (
    "start-up",
    "standby",
    "standby-start-up",
    "flip",
    "scaling",
    "interval",
    "scale-down-window",
    "quantile",
    "forecast",
    "utilisation",
)
SHARED: Final = tuple(f for f in FIELDS if f.name not in (*_CHOSEN, *_OF_SCALING, "profile"))


def _gpus(raw: str) -> int:
    gpus: int = count(least=2)(raw)
    if gpus > MOST_GPUS:
        raise ValueError(f"must be at most {MOST_GPUS}, got {raw!r}")
    return gpus


PROFILE: Final = flag(
    "profile",
    several(kind),
    (),
    "PATH|NAME[=GPUS]",
    "how fast a replica is, and its GPUs [tpN of the name]; may be repeated: every pair of them with equal "
    "KV per token is tried, so name profiles of one model",
)
OWN: Final = (
    flag("gpus", _gpus, None, "N", "most GPUs that a fleet may hold"),
    flag("min-prefill", count(least=1), 1, "N", "fewest prefill replicas"),
    flag("min-decode", count(least=1), 1, "N", "fewest decode replicas"),
    flag(
        "mixed",
        yes_or_no,
        True,
        "true|false",
        "prefill and decode replicas may have different profiles; the placement policy then believes the "
        "decode profile, as a ServingDeployment has one",
    ),
    flag("window", duration(above=0), 60.0, "TIME", "a fleet must carry the load of so long at a time"),
    flag("pairs", count(least=1), 3, "N", "pairs of profiles that are simulated, best first"),
    flag("runs", count(least=1), 16, "N", "most simulated fleets, each on every seed"),
    flag("show", count(least=1), 12, "N", "most lines"),
)


@dataclass(frozen=True, slots=True)
class Asked:
    """``settings`` carry traffic, SLO and engines; their fleet, GPUs and bounds mean nothing. ``source`` is
    the metrics server that the traffic was read from, if it was."""

    settings: Settings
    kinds: tuple[Kind, ...]
    gpus: int
    min_prefill: int
    min_decode: int
    mixed: bool
    window: Seconds
    pairs: int
    runs: int
    show: int
    priced: bool = False
    source: str | None = None

    def __post_init__(self) -> None:
        given = self.settings
        if len(given.load) > 1:
            raise InvalidScenario(f"--load: a plan is for one load, got {len(given.load)}; ask once for each")
        if len(given.placement) > 1 or self.placement is PlacementName.COLOCATED:
            names = ",".join(given.placement)
            raise InvalidScenario(
                f"--placement: must be one policy for two pools, got {names}; pdscale compare takes others"
            )
        least = min(k.gpus for k in self.kinds)
        if least * (self.min_prefill + self.min_decode) > self.gpus:
            raise InvalidScenario(
                f"--gpus: {self.min_prefill}P+{self.min_decode}D need at least "
                f"{least * (self.min_prefill + self.min_decode)}, got {self.gpus}"
            )

    @property
    def placement(self) -> PlacementName:
        return (*self.settings.placement, PlacementName.COST_BASED)[0]

    @property
    def load(self) -> float:
        return self.settings.load[0]


def asked(flags: Mapping[str, Any], scenario: Path | None = None) -> Asked:
    """``flags`` has texts by attribute name, ``None`` where a flag was not given; ``profile`` and ``price``
    are lists."""
    profiles = ",".join(flags["profile"]) if flags.get("profile") else None
    fixed = {name.replace("-", "_"): text for name, text in _CHOSEN.items()}
    settings = read_settings({**flags, **fixed, "profile": profiles}, scenario)
    given = {"profile": ("--profile", settings.profile), **given_flags(OWN, flags)}
    if "gpus" not in given:
        raise InvalidScenario("--gpus: must be given, the most GPUs that a fleet may hold")
    found = parsed((PROFILE, *OWN), given)
    kinds = found.pop("profile")
    first = of_kind(settings, kinds[0])  # balances workloads in which two kinds of request take turns
    prices = flags.get("price") or ()
    try:
        return Asked(first, priced(kinds, prices), **found, priced=bool(prices))
    except InvalidScenario:
        raise
    except ValueError as error:
        raise InvalidScenario(f"--price: {error}") from error


def of_kind(settings: Settings, kind: Kind) -> Settings:
    return replace(settings, profile=kind.name)

"""How long sessions pause between two rounds, as far as the metrics server knows.

The 95th percentile of the last hour's pauses that ended: of a hundred rounds that come back, five find their
history unpinned. Asked every five minutes. From fewer than a hundred pauses nothing is concluded.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pdscale.api.v1alpha1 import ServingDeployment
from pdscale.controller.observe import Asks
from pdscale.kube.pinning import TTL, applies, bounded
from pdscale.model.units import Seconds
from pdscale.model.workload import NoData
from pdscale.prom.queries import sidecar_rate

QUANTILE: Final = 0.95
WINDOW: Final[Seconds] = 3600.0
ENOUGH: Final = 100.0
EVERY: Final[Seconds] = 300.0
_COARSE: Final = 10  # seconds: a status that follows each of them would be written all the time
KEY: Final = "figure"


@dataclass(slots=True)
class Pauses:
    """One object's pauses, kept between ticks."""

    seconds: Seconds | None = None
    _asked: Seconds = -math.inf

    async def look(self, source: Asks, wanted: ServingDeployment, now: Seconds) -> Seconds | None:
        """Their upper end, bounded and coarse; None while nothing can be said.

        A server that does not answer changes nothing; an answer of too few pauses takes the last figure back.
        """
        if not applies(wanted.spec) or wanted.spec.scaling.mode == "Paused":
            return None
        if now - self._asked >= EVERY:
            self._asked = now
            asked = query(wanted.metadata.namespace, wanted.metadata.name)
            told = await source.instants(wanted, asked, label=KEY)
            if not isinstance(told, NoData):
                self.seconds = read(told)
        return self.seconds


def query(namespace: str, name: str) -> str:
    """The quantile in seconds, and of how many pauses, told apart by the label ``KEY``."""
    buckets = sidecar_rate(namespace, name, "session_gap_seconds_bucket", WINDOW)
    count = sidecar_rate(namespace, name, "session_gap_seconds_count", WINDOW)
    asked = {
        "pause": f"histogram_quantile({QUANTILE}, sum by (le) ({buckets}))",
        "count": f"{WINDOW:g} * sum({count})",
    }
    return " or ".join(f'label_replace({q}, "{KEY}", "{figure}", "", "")' for figure, q in asked.items())


def read(told: Mapping[str, float]) -> Seconds | None:
    if "pause" not in told or told.get("count", 0.0) < ENOUGH:
        return None
    return float(bounded(_COARSE * math.ceil(told["pause"] / _COARSE)))


@dataclass(frozen=True, slots=True)
class Kept:
    """``seconds`` for which decode engines keep a round's KV; ``pause`` is what sessions do now, if known."""

    seconds: int
    pause: Seconds | None


def kept(pool: Mapping[str, Any] | None, pause: Seconds | None) -> Kept | None:
    """What the Deployment of a pool says; None for engines without such an argument."""
    said = None if pool is None else (pool["metadata"].get("annotations") or {}).get(TTL)
    return None if said is None else Kept(int(said), pause)

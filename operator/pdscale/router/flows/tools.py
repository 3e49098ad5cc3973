"""What every round of a sidecar needs."""

from collections.abc import Callable
from dataclasses import dataclass

from pdscale.engines.dialects import Dialect
from pdscale.model.units import Seconds
from pdscale.router.fleet.own import OwnEngine
from pdscale.router.fleet.roster import Roster
from pdscale.router.flows.capabilities import HistoryMoves
from pdscale.router.flows.prefiller_header import PrefillerHeader
from pdscale.router.hop.legs import Legs


@dataclass(frozen=True, slots=True)
class Tools:
    legs: Legs
    roster: Roster
    history: HistoryMoves
    own: OwnEngine
    prefiller: PrefillerHeader
    prefill_timeout: Seconds
    clock: Callable[[], Seconds]

    @property
    def dialect(self) -> Dialect:
        """As far as is known by now."""
        return self.history.dialect

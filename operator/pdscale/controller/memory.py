"""What the ticks of one object share. A restart starts anew, and every part of it bears that."""

from dataclasses import dataclass, field

from pdscale.controller.children import Children
from pdscale.controller.drafts import Drafts
from pdscale.controller.flaps import Flaps
from pdscale.controller.forecast_record import ForecastRecord
from pdscale.controller.looks import Look
from pdscale.controller.pauses import Pauses
from pdscale.model.pools import Role
from pdscale.model.units import Seconds
from pdscale.scaling.autoscaler import Autoscaler


@dataclass(slots=True)
class Memory:
    """``last_plan`` is what was last said of it in the log; ``pause`` what ``pauses`` said last; ``look``
    what a tick before has seen, if all of it stood still.
    """

    children: Children
    autoscaler: Autoscaler
    drafts: Drafts = field(default_factory=Drafts)
    last_plan: str = ""
    owned_elsewhere: frozenset[Role] = frozenset()
    forecasts: ForecastRecord = field(default_factory=ForecastRecord)
    flaps: Flaps = field(default_factory=Flaps)
    pauses: Pauses = field(default_factory=Pauses)
    pause: Seconds | None = None
    look: Look | None = None

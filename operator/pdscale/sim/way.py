"""A round on its way: what the dispatcher knows of it beside what engines do."""

from pdscale.model.units import Seconds
from pdscale.placement.exchange import Exchange
from pdscale.placement.policy import Placement
from pdscale.sim.decode import DecodeEngine
from pdscale.sim.fleet import Replica
from pdscale.sim.prefill import PrefillEngine
from pdscale.sim.request import Request


class Way(Request):
    """Engines hand back the request that they were given, and know nothing of replicas and exchanges."""

    __slots__ = ("decode", "exchange", "placed_at", "placement", "prefill")

    def __init__(
        self, index: int, session: int, *, prompt: int, output: int, arrived: Seconds, limit: Seconds
    ) -> None:
        super().__init__(index, session, prompt=prompt, output=output, arrived=arrived, limit=limit)
        self.decode: Replica[DecodeEngine] | None = None
        self.prefill: Replica[PrefillEngine] | None = None
        self.placement: Placement | None = None
        self.exchange: Exchange | None = None
        self.placed_at = arrived

"""``x-prefiller-host-port``: how an endpoint picker (llm-d's) tells a sidecar who computes the prompt.

A request in which anybody could name a host would be sent anywhere, so the header counts only where it was
switched on, and only if it names a prefill replica that discovery knows and that takes work, by its pod's IP
and its port ``http``: the target port that an InferencePool of these pods has. Of a list, the first such one
counts. Anything else is as if it had not been said, except that it is counted.
"""

from collections.abc import Callable
from dataclasses import dataclass

from pdscale.model.pools import Role
from pdscale.model.units import Seconds
from pdscale.router.fleet.roster import Roster
from pdscale.router.meters import Meters


@dataclass(frozen=True, slots=True)
class PrefillerHeader:
    roster: Roster
    meters: Meters
    clock: Callable[[], Seconds]
    honoured: bool = False

    def __call__(self, told: bytes) -> str | None:
        """The name of the replica that is meant."""
        if not self.honoured or not told:
            return None
        view = self.roster.view(self.clock())
        peers = {(p.endpoint.address, p.http_port): p.endpoint.name for p in self.roster.peers(Role.PREFILL)}
        for item in told.decode("latin-1").split(","):
            name = peers.get(_host_port(item.strip()))
            endpoint = None if name is None else view.named(name)
            if endpoint is not None and endpoint.takes_new_work:
                return name
        self.meters.ignored_prefiller()
        return None


def _host_port(text: str) -> tuple[str, int]:
    """``10.0.0.1:8080`` or ``[fd00::1]:8080``; what is neither is nobody's."""
    host, _, port = text.rpartition(":")
    number = int(port) if port.isascii() and port.isdigit() and len(port) < 6 else 0
    return host.removeprefix("[").removesuffix("]"), number

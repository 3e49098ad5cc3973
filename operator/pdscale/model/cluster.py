"""What a placement decision may look at: one consistent, immutable view of the endpoints."""

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Final

from pdscale.model.pools import Role
from pdscale.model.units import Seconds, Tokens

_name: Final = attrgetter("name")


@dataclass(frozen=True, slots=True)
class Load:
    """Figures of one engine at ``seen_at`` (seconds on the caller's clock).

    ``queued_tokens`` are uncached prompt tokens waiting or in prefill; ``resident_tokens`` the KV
    of running streams. ``ttft`` and ``itl`` are means over the recent window, absent while it is
    empty. ``backlog`` is how long a round that comes now would wait as its own gate predicts, absent
    where there is no gate: a long prompt's last tokens take far longer than as many of short ones.
    """

    running: int = 0
    waiting: int = 0
    queued_tokens: Tokens = 0.0
    resident_tokens: Tokens = 0.0
    kv_usage: float = 0.0
    ttft: Seconds | None = None
    itl: Seconds | None = None
    seen_at: Seconds = 0.0
    backlog: Seconds | None = None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One engine pod as the router sees it. ``address`` is the pod's IP."""

    name: str
    address: str
    role: Role
    ready: bool = True
    draining: bool = False
    load: Load = field(default_factory=Load)

    @property
    def takes_new_work(self) -> bool:
        return self.ready and not self.draining


@dataclass(frozen=True, slots=True)
class ClusterView:
    """All endpoints of one ServingDeployment, sorted by name: arrival order decides nothing."""

    endpoints: tuple[Endpoint, ...] = ()

    def __post_init__(self) -> None:
        ordered = tuple(sorted(self.endpoints, key=_name))
        object.__setattr__(self, "endpoints", ordered)

    def renewed(self, loads: Mapping[str, Load]) -> "ClusterView":
        """With these endpoints' new loads. Their order stays: a word from one of 200 costs no sorting."""
        endpoints = list(self.endpoints)
        for name, load in loads.items():
            index = bisect_left(endpoints, name, key=_name)
            if index < len(endpoints) and endpoints[index].name == name:
                e = endpoints[index]
                endpoints[index] = Endpoint(e.name, e.address, e.role, e.ready, e.draining, load)
        view = object.__new__(ClusterView)
        object.__setattr__(view, "endpoints", tuple(endpoints))
        return view

    def of(self, role: Role) -> tuple[Endpoint, ...]:
        return tuple(e for e in self.endpoints if e.role is role)

    def named(self, name: str) -> Endpoint | None:
        index = bisect_left(self.endpoints, name, key=_name)
        found = self.endpoints[index : index + 1]
        return found[0] if found and found[0].name == name else None

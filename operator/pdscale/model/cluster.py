"""What a placement decision may look at: one consistent, immutable view of the endpoints."""

from dataclasses import dataclass, field

from pdscale.model.pools import Role
from pdscale.model.units import Seconds, Tokens


@dataclass(frozen=True, slots=True)
class Load:
    """Figures of one engine at ``seen_at`` (seconds on the caller's clock).

    ``queued_tokens`` are uncached prompt tokens waiting or in prefill; ``resident_tokens`` the KV
    of running streams. ``ttft`` and ``itl`` are means over the recent window, absent while it is
    empty.
    """

    running: int = 0
    waiting: int = 0
    queued_tokens: Tokens = 0.0
    resident_tokens: Tokens = 0.0
    kv_usage: float = 0.0
    ttft: Seconds | None = None
    itl: Seconds | None = None
    seen_at: Seconds = 0.0


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
        ordered = tuple(sorted(self.endpoints, key=lambda e: e.name))
        object.__setattr__(self, "endpoints", ordered)

    def of(self, role: Role) -> tuple[Endpoint, ...]:
        return tuple(e for e in self.endpoints if e.role is role)

    def named(self, name: str) -> Endpoint | None:
        return next((e for e in self.endpoints if e.name == name), None)

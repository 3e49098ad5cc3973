"""What one router is told, judged once. ``arguments`` reads it from a command line."""

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pdscale.engines.dialects import EngineType
from pdscale.engines.sglang import BOOTSTRAP_PORT
from pdscale.model.slo import SLO
from pdscale.model.units import Seconds
from pdscale.perf.profile import Profile
from pdscale.placement.table import Table
from pdscale.router.fleet.discovery import ApiAccess
from pdscale.router.fleet.peers import ADMIN_PORT, HTTP_PORT, Peer
from pdscale.router.meters import Place
from pdscale.router.policies import ADMIT, NEED_A_PROFILE, THRESHOLD_TOKENS, PolicyName, QueueOrder
from pdscale.router.wire.request import LARGEST_BODY

_SLO: Final = SLO(ttft=2.0, tpot=0.075)


@dataclass(frozen=True, slots=True)
class Settings:
    """One router. ``api`` is absent exactly when ``static`` names the peers.

    One of several processes has an ``admin_socket`` instead of an admin port, and shares the client port.
    """

    place: Place
    deployment: str = ""
    namespace: str = "default"
    pod_name: str = ""
    host: str = "127.0.0.1"
    port: int = HTTP_PORT
    admin_port: int = ADMIN_PORT
    engine_url: str = ""
    engine_type: EngineType = EngineType.VLLM
    bidirectional: bool = True
    bootstrap_port: int = BOOTSTRAP_PORT
    kv_lease: Seconds = 30.0
    placement: PolicyName = PolicyName.COST_BASED
    threshold_tokens: int = THRESHOLD_TOKENS
    placement_table: Table | None = None
    queue_order: QueueOrder = QueueOrder.FEWEST_LATE
    admit: int = ADMIT
    reject_late: bool = False
    profile: Profile | None = None
    slo: SLO = _SLO
    prefill_timeout: Seconds = 30.0
    drain_timeout: Seconds = 30.0
    drain_quiet: Seconds = 3.0  # those who still send here have not heard of the drain yet
    static: tuple[Peer, ...] = ()
    api: ApiAccess | None = None
    max_body: int = LARGEST_BODY
    token_file: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    processes: int = 1
    admin_socket: str = ""
    honour_prefiller_header: bool = False
    endpoint_picker_port: int | None = None

    def __post_init__(self) -> None:
        if (self.api is None) == (not self.static):
            raise ValueError("either staticEndpoints or a Kubernetes API must be given, and not both")
        if self.api is not None and not self.deployment:
            raise ValueError("deployment must be named when peers are found through the Kubernetes API")
        for name in ("prefill_timeout", "drain_timeout", "drain_quiet"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0s, got {getattr(self, name)}s")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tlsCert and tlsKey must be given together")
        for name, option in (
            ("threshold_tokens", "thresholdTokens"),
            ("admit", "admit"),
            ("max_body", "maxBody"),
            ("processes", "processes"),
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{option} must be at least 1, got {getattr(self, name)}")
        if self.place is Place.FRONT:
            self._judge_picker()
            return
        if self.endpoint_picker_port is not None:
            raise ValueError(
                "endpointPickerPort is a front's: a sidecar serves the one replica that was picked"
            )
        if self.processes > 1:
            raise ValueError(f"processes must be 1 for a sidecar, got {self.processes}: it has one engine")
        if not 1 <= self.bootstrap_port <= 65535:
            raise ValueError(f"bootstrapPort must be in 1..65535, got {self.bootstrap_port}")
        if not self.engine_url.startswith(("http://", "https://")):
            raise ValueError(f"engineUrl must be an http URL for a sidecar, got {self.engine_url!r}")
        if not self.pod_name:
            raise ValueError("podName must be given for a sidecar: its role is its pod's label")
        if self.placement in NEED_A_PROFILE and self.profile is None and not self._has_own_table:
            others = ", ".join(p for p in PolicyName if p not in NEED_A_PROFILE)
            raise ValueError(f"placement {self.placement} needs a profile; {others} do not")

    def tls(self) -> ssl.SSLContext | None:
        """For the client port; plain without a certificate."""
        if self.tls_cert is None:
            return None
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.tls_cert, self.tls_key)
        return context

    def _judge_picker(self) -> None:
        port = self.endpoint_picker_port
        if port is not None and not 0 <= port <= 65535:
            raise ValueError(f"endpointPickerPort must be in 0..65535, got {port}")
        if port == 0 and self.processes > 1:
            raise ValueError("endpointPickerPort must be 1 or more where processes share it, got 0")

    @property
    def certificate(self) -> tuple[Path, Path] | None:
        """The files of the chain and of its key."""
        return None if self.tls_cert is None or self.tls_key is None else (self.tls_cert, self.tls_key)

    @property
    def admin_path(self) -> str:
        """The admin socket as the kernel knows it: one without a file begins with a NUL."""
        name = self.admin_socket
        return "\0" + name[1:] if name.startswith("@") else name

    @property
    def _has_own_table(self) -> bool:
        return self.placement is PolicyName.TABLE and self.placement_table is not None

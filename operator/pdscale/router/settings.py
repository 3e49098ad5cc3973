"""Command line and environment -> one frozen value, judged once."""

import argparse
import json
import os
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pdscale.engines.dialects import EngineType, dialect_of
from pdscale.model.slo import SLO
from pdscale.model.units import Seconds, parse_duration
from pdscale.perf.builtin import BUILTIN
from pdscale.perf.document import read_profile
from pdscale.perf.profile import Profile
from pdscale.placement.table import Table, read_table
from pdscale.router.discovery import ApiAccess
from pdscale.router.meters import Place
from pdscale.router.peers import ADMIN_PORT, HTTP_PORT, Peer, parse_static
from pdscale.router.policies import ADMIT, NEED_A_PROFILE, THRESHOLD_TOKENS, PolicyName, QueueOrder
from pdscale.router.wire.request import LARGEST_BODY

_SLO: Final = SLO(ttft=2.0, tpot=0.075)
_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")


@dataclass(frozen=True, slots=True)
class Settings:
    """One router process. ``api`` is absent exactly when ``static`` names the peers."""

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
    kv_lease: Seconds = 30.0
    placement: PolicyName = PolicyName.COST_BASED
    threshold_tokens: int = THRESHOLD_TOKENS
    placement_table: Table | None = None
    queue_order: QueueOrder = QueueOrder.SHORTEST_REMAINING
    admit: int = ADMIT
    reject_late: bool = False
    profile: Profile | None = None
    slo: SLO = _SLO
    prefill_timeout: Seconds = 30.0
    drain_timeout: Seconds = 30.0
    drain_quiet: Seconds = 1.0
    static: tuple[Peer, ...] = ()
    api: ApiAccess | None = None
    max_body: int = LARGEST_BODY
    token_file: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None

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
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{option} must be at least 1, got {getattr(self, name)}")
        if self.place is Place.FRONT:
            return
        dialect_of(self.engine_type, bidirectional=self.bidirectional)  # refuses what nobody speaks
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

    @property
    def _has_own_table(self) -> bool:
        return self.placement is PolicyName.TABLE and self.placement_table is not None


def parse_settings(argv: Sequence[str], environment: Mapping[str, str] = os.environ) -> Settings:
    """Ends the process with a message on standard error if the arguments make no sense."""
    parser = _parser(environment)
    given = parser.parse_args(argv)
    try:
        static = parse_static(given.static_endpoints)
        return Settings(
            place=Place(given.place),
            deployment=given.deployment,
            namespace=given.namespace,
            pod_name=given.pod_name,
            host=given.host,
            port=given.port,
            admin_port=given.admin_port,
            engine_url=given.engine_url.rstrip("/"),
            engine_type=EngineType(given.engine_type),
            bidirectional=given.kv_transfer == "bidirectional",
            kv_lease=parse_duration(given.kv_lease),
            placement=PolicyName(given.placement),
            threshold_tokens=given.threshold_tokens,
            placement_table=_table(given.placement_table),
            queue_order=QueueOrder(given.queue_order),
            admit=given.admit,
            reject_late=given.reject_late,
            profile=_profile(given.profile, given.profile_file),
            slo=SLO(ttft=parse_duration(given.ttft), tpot=parse_duration(given.tpot)),
            prefill_timeout=parse_duration(given.prefill_timeout),
            drain_timeout=parse_duration(given.drain_timeout),
            static=static,
            api=None if static else _in_cluster(environment),
            max_body=given.max_body,
            token_file=_file(given.token_file),
            tls_cert=_file(given.tls_cert),
            tls_key=_file(given.tls_key),
        )
    except (ValueError, OSError) as error:
        parser.error(str(error))


def _parser(environment: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="pdscale router", description=__doc__)
    add = parser.add_argument
    add("--place", choices=(Place.FRONT, Place.SIDECAR), required=True)
    add("--deployment", default="", help="name of the ServingDeployment")
    add("--namespace", default=environment.get("POD_NAMESPACE", "default"))
    add("--pod-name", default=environment.get("POD_NAME", ""))
    add("--host", default=environment.get("POD_IP", "127.0.0.1"), help="address to listen on")
    add("--port", type=int, default=HTTP_PORT)
    add("--admin-port", type=int, default=ADMIN_PORT)
    add("--engine-url", default="", help="a sidecar's engine, http://IP:8000")
    add("--engine-type", choices=tuple(EngineType), default=EngineType.VLLM)
    add(
        "--kv-transfer",
        choices=("bidirectional", "one-way"),
        default="bidirectional",
        help="whether prefill engines can read KV from decode engines (bidirectional_kv_xfer)",
    )
    add("--kv-lease", default="30s", help="the connector's kv_lease_duration")
    add("--placement", choices=tuple(PolicyName), default=PolicyName.COST_BASED)
    add("--threshold-tokens", type=int, default=THRESHOLD_TOKENS, help="for placement Threshold")
    add("--placement-table", default="", help="for placement Table, a table in JSON instead of the profile's")
    add("--queue-order", choices=tuple(QueueOrder), default=QueueOrder.SHORTEST_REMAINING)
    add("--admit", type=int, default=ADMIT, help="prefill legs that the engine has at a time")
    add("--reject-late", action="store_true", help="refuse prefill legs that would miss the TTFT limit")
    add("--profile", default="", help="name of a built-in profile")
    add("--profile-file", default="", help="a profile document in JSON")
    add("--ttft", default="2s")
    add("--tpot", default="75ms")
    add("--prefill-timeout", default="30s", help="after this, a round is prefilled locally")
    add("--drain-timeout", default="30s")
    add("--static-endpoints", default="", help="role=name=ip[:port[:adminPort]],... for no cluster")
    add("--max-body", type=int, default=LARGEST_BODY, help="largest request body in bytes; beyond it 413")
    add("--token-file", default="", help="clients must present this bearer token")
    add("--tls-cert", default="", help="certificate chain of the client port, in PEM")
    add("--tls-key", default="", help="its key")
    return parser


def _profile(name: str, file: str) -> Profile | None:
    if name and file:
        raise ValueError("profile and profileFile exclude each other")
    if file:
        return read_profile(json.loads(Path(file).read_text()))
    if name and name not in BUILTIN:
        raise ValueError(f"profile must be one of {', '.join(BUILTIN)}, got {name!r}")
    return BUILTIN[name] if name else None


def _file(name: str) -> Path | None:
    return Path(name) if name else None


def _table(file: str) -> Table | None:
    return read_table(json.loads(Path(file).read_text())) if file else None


def _in_cluster(environment: Mapping[str, str]) -> ApiAccess:
    """The API server as every pod is told of it."""
    host = environment.get("KUBERNETES_SERVICE_HOST", "")
    port = environment.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        raise ValueError(
            "KUBERNETES_SERVICE_HOST is not set: outside of a cluster, name the peers by staticEndpoints"
        )
    host = f"[{host}]" if ":" in host else host
    return ApiAccess(f"https://{host}:{port}", _ACCOUNT / "token", _ACCOUNT / "ca.crt")

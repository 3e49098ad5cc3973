"""Command line and environment -> settings."""

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from pdscale.engines.dialects import EngineType
from pdscale.engines.sglang import BOOTSTRAP_PORT
from pdscale.model.slo import SLO
from pdscale.model.units import parse_duration
from pdscale.perf.builtin import BUILTIN
from pdscale.perf.document import read_profile
from pdscale.perf.profile import Profile
from pdscale.placement.table import Table, read_table
from pdscale.router.fleet.discovery import ApiAccess
from pdscale.router.fleet.peers import ADMIN_PORT, HTTP_PORT, parse_static
from pdscale.router.meters import Place
from pdscale.router.picker.extra import require_extra
from pdscale.router.policies import ADMIT, THRESHOLD_TOKENS, PolicyName, QueueOrder
from pdscale.router.settings import Settings
from pdscale.router.wire.request import LARGEST_BODY

_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")


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
            bootstrap_port=given.bootstrap_port,
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
            api=None if static else _api(given.api_url, environment),
            max_body=given.max_body,
            token_file=_file(given.token_file),
            tls_cert=_file(given.tls_cert),
            tls_key=_file(given.tls_key),
            processes=given.processes,
            admin_socket=given.admin_socket,
            honour_prefiller_header=given.honour_prefiller_header,
            endpoint_picker_port=_picker_port(given.endpoint_picker_port),
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
    add(
        "--bootstrap-port",
        type=int,
        default=BOOTSTRAP_PORT,
        help="of SGLang's prefill instances (--disaggregation-bootstrap-port)",
    )
    add("--kv-lease", default="30s", help="the connector's kv_lease_duration")
    add("--placement", choices=tuple(PolicyName), default=PolicyName.COST_BASED)
    add("--threshold-tokens", type=int, default=THRESHOLD_TOKENS, help="for placement Threshold")
    add("--placement-table", default="", help="for placement Table, a table in JSON instead of the profile's")
    add("--queue-order", choices=tuple(QueueOrder), default=QueueOrder.FEWEST_LATE)
    add("--admit", type=int, default=ADMIT, help="prefill legs that the engine has at a time")
    add("--reject-late", action="store_true", help="refuse prefill legs that would miss the TTFT limit")
    add("--profile", default="", help="name of a built-in profile")
    add("--profile-file", default="", help="a profile document in JSON")
    add("--ttft", default="2s")
    add("--tpot", default="75ms")
    add("--prefill-timeout", default="30s", help="after this, a round is prefilled locally")
    add("--drain-timeout", default="30s")
    add("--static-endpoints", default="", help="role=name=ip[:port[:adminPort]],... for no cluster")
    add("--api-url", default="", help="API server without TLS or token (kubectl proxy), not the pod's own")
    add("--max-body", type=int, default=LARGEST_BODY, help="largest request body in bytes; beyond it 413")
    add("--token-file", default="", help="clients must present this bearer token")
    add("--tls-cert", default="", help="certificate chain of the client port, in PEM")
    add("--tls-key", default="", help="its key")
    add(
        "--processes",
        type=int,
        default=1,
        help="that share a front's client port, each with a core of its own",
    )
    add(
        "--admin-socket",
        default="",
        help="for one of several processes, by the one that starts them: where its admin port's paths are "
        "instead, @NAME for one without a file; standard input ends with who started it",
    )
    add(
        "--honour-prefiller-header",
        action="store_true",
        help="let x-prefiller-host-port name the prefill replica, where clients cannot pass by an endpoint "
        "picker; with placement AlwaysLocal, a request without it is prefilled locally",
    )
    add(
        "--endpoint-picker-port",
        type=int,
        help="have a front be a gateway's endpoint picker (ext_proc), too; needs the extra endpoint-picker",
    )
    return parser


def _picker_port(given: int | None) -> int | None:
    if given is not None:
        require_extra()
    return given


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


def _api(url: str, environment: Mapping[str, str]) -> ApiAccess:
    return ApiAccess(url.rstrip("/")) if url else _in_cluster(environment)


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

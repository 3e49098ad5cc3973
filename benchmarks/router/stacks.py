"""How each proxy is started.

A *plain* stack passes requests to the decode engine. A *split* one sends each request as a prefill leg to
the prefill engine and a decode leg to the decode engine; the client of ``direct-pd`` does that itself. Of
ours there is each hop alone, and as ``ours-pd-path`` front, decode sidecar and prefill sidecar together.
The *floors* are the least that a proxy in Python can do (``floors``). ``pairs`` adds ours as compiled.

Each proxy has its defaults, except: no access log, one worker, round robin (there is one engine of each
kind).
"""

import os
import sys
from collections.abc import Sequence
from typing import Final

from benchmarks.router import foreign
from benchmarks.router.site import HOST, Site, Stack, free_port


def _nginx(site: Site, port: int) -> list[list[str]]:
    program = foreign.on_path("nginx", "nginx-light")
    here = site.folder / "nginx"
    here.mkdir(exist_ok=True)
    temporary = "".join(
        f"  {kind}_temp_path {here}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "user root;\n" if os.geteuid() == 0 else ""  # else the worker could not write under our folder
    config = here / "nginx.conf"
    config.write_text(
        f"""{user}daemon off;
worker_processes 1;
pid {here}/pid;
error_log stderr warn;
events {{ worker_connections 4096; }}
http {{
  access_log off;
{temporary}
  tcp_nodelay on;
  keepalive_requests 1000000000;
  client_max_body_size 16m;
  client_body_buffer_size 1m;
  upstream engine {{ server {HOST}:{site.decode}; keepalive 512; keepalive_requests 1000000000; }}
  server {{
    listen {HOST}:{port} backlog=4096;
    location / {{
      proxy_pass http://engine;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
      proxy_request_buffering off;
    }}
  }}
}}
"""
    )
    return [[str(program), "-e", "stderr", "-p", str(here), "-c", str(config)]]


def _haproxy(site: Site, port: int) -> list[list[str]]:
    program = foreign.on_path("haproxy", "haproxy")
    config = site.folder / "haproxy.cfg"
    config.write_text(
        f"""global
  nbthread 1
  maxconn 4096
defaults
  mode http
  option http-keep-alive
  option http-no-delay
  http-reuse always
  timeout connect 1s
  timeout client 60s
  timeout server 60s
frontend clients
  bind {HOST}:{port}
  default_backend engine
backend engine
  server decode {HOST}:{site.decode}
"""
    )
    return [[str(program), "-db", "-q", "-f", str(config)]]


def _vllm(site: Site, port: int, *work: str) -> list[list[str]]:
    program = str(foreign.rust_routers() / "vllm-router")
    quiet = ["--log-level", "warning", "--prometheus-port", str(free_port())]
    where = ["--host", HOST, "--port", str(port), "--policy", "round_robin"]
    return [[program, *where, *quiet, "--worker-startup-check-interval", "1", *work]]


def _sglang(site: Site, port: int, *work: str) -> list[list[str]]:
    program = [str(foreign.rust_routers() / "python"), "-m", "sglang_router.launch_router"]
    quiet = ["--log-level", "warn", "--prometheus-host", HOST, "--prometheus-port", str(free_port())]
    where = ["--host", HOST, "--port", str(port), "--policy", "round_robin"]
    return [[*program, *where, *quiet, "--worker-startup-check-interval", "1", *work]]


def _floor(site: Site, port: int, kind: str) -> list[list[str]]:
    ports = map(str, (port, site.decode, site.prefill))
    return [[sys.executable, "-m", "benchmarks.router.floors", kind, *ports]]


def _peer(role: str, name: str, port: int, admin: int) -> str:
    return f"{role}={name}={HOST}:{port}:{admin}"


def _ours(place: str, port: int, admin: int, peers: Sequence[str], *more: str) -> list[str]:
    listen = ["--host", HOST, "--port", str(port), "--admin-port", str(admin)]
    program = [sys.executable, "-m", "pdscale.router", "--place", place]
    return [*program, *listen, "--static-endpoints", ",".join(peers), *more]


def _sidecar(
    site: Site, port: int, admin: int, *, placement: str, prefill: str = "", transfer: str = "bidirectional"
) -> list[str]:
    peers = [_peer("decode", "d0", port, admin), *([prefill] if prefill else [])]
    engine = ["--pod-name", "d0", "--engine-url", site.decode_url]
    return _ours("sidecar", port, admin, peers, *engine, "--placement", placement, "--kv-transfer", transfer)


def _plain_sidecar(site: Site, port: int) -> list[list[str]]:
    """Engines without history transfer: a body passes as it came."""
    return [_sidecar(site, port, free_port(), placement="AlwaysLocal", transfer="one-way")]


def _local_sidecar(site: Site, port: int) -> list[list[str]]:
    """Local rounds that leave parameters for the next one: body and answer are both opened."""
    return [_sidecar(site, port, free_port(), placement="AlwaysLocal")]


def _plain_front(site: Site, port: int) -> list[list[str]]:
    return [_ours("front", port, free_port(), [_peer("decode", "d0", site.decode, site.decode)])]


def _split_sidecar(site: Site, port: int) -> list[list[str]]:
    prefill = _peer("prefill", "p0", site.prefill, site.prefill)
    return [_sidecar(site, port, free_port(), placement="AlwaysRemote", prefill=prefill)]


def _path(site: Site, port: int) -> list[list[str]]:
    prefill, decode = (free_port(), free_port()), (free_port(), free_port())
    gate = _peer("prefill", "p0", *prefill)
    guard = ["--pod-name", "p0", "--engine-url", site.prefill_url, "--placement", "AlwaysRemote"]
    return [
        _ours("sidecar", *prefill, [gate], *guard),
        _sidecar(site, *decode, placement="AlwaysRemote", prefill=gate),
        _ours("front", port, free_port(), [_peer("decode", "d0", *decode)]),
    ]


def _served(site: Site, port: int) -> list[list[str]]:
    """Front and sidecar with session state in both: what the soak runs against."""
    sidecar = (free_port(), free_port())
    return [
        _ours("front", port, free_port(), [_peer("decode", "d0", *sidecar)]),
        _sidecar(site, *sidecar, placement="AlwaysLocal"),
    ]


SOAKED: Final = Stack("soaked", _served)
STACKS: Final = (
    Stack("direct", None),
    Stack("nginx", _nginx),
    Stack("haproxy", _haproxy, extra=True),
    Stack("floor-splice", lambda s, p: _floor(s, p, "splice"), extra=True),
    Stack("floor-plain", lambda s, p: _floor(s, p, "plain"), extra=True),
    Stack("vllm-router", lambda s, p: _vllm(s, p, "--worker-urls", s.decode_url)),
    Stack("sglang-router", lambda s, p: _sglang(s, p, "--worker-urls", s.decode_url)),
    Stack("ours-sidecar", _plain_sidecar),
    Stack("ours-front", _plain_front),
    Stack("ours-local", _local_sidecar, extra=True),
    Stack("direct-pd", None, split=True),
    Stack("floor-split", lambda s, p: _floor(s, p, "split"), split=True, extra=True),
    Stack(
        "vllm-router-pd",
        lambda s, p: _vllm(
            s, p, "--vllm-pd-disaggregation", "--prefill", s.prefill_url, "--decode", s.decode_url
        ),
        split=True,
    ),
    Stack(
        "sglang-router-pd",
        lambda s, p: _sglang(
            s, p, "--pd-disaggregation", "--prefill", s.prefill_url, "8998", "--decode", s.decode_url
        ),
        split=True,
    ),
    Stack("ours-pd", _split_sidecar, split=True),
    Stack("ours-pd-path", _path, split=True),
)

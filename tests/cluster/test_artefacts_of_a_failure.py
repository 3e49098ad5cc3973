"""What is kept of pods when a test has failed."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from pdscale_e2e.artefacts import describe, save_metrics


def pod(name: str, *, port: int, port_name: str = "admin", ip: str | None = "127.0.0.1") -> dict[str, Any]:
    ports = [{"name": port_name, "containerPort": port}, {"containerPort": 1}]
    return {
        "metadata": {"name": name},
        "spec": {"nodeName": "worker", "containers": [{"name": "c", "ports": ports}]},
        "status": {"phase": "Running"} | ({"podIP": ip} if ip else {}),
    }


class _Metrics(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"up{{path={self.path!r}}} 1\n".encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Nobody reads it."""


@pytest.fixture
def port() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Metrics) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_metrics_are_saved_by_pod_and_port(tmp_path: Path, port: int) -> None:
    sidecar = pod("decode", port=port, port_name="metrics")
    sidecar["spec"]["initContainers"] = sidecar["spec"].pop("containers")
    save_metrics([pod("router", port=port), sidecar], tmp_path)
    saved = {file.name: file.read_text() for file in tmp_path.iterdir()}
    assert saved == dict.fromkeys(
        ("router.admin.metrics", "decode.metrics.metrics"), "up{path='/metrics'} 1\n"
    )


def test_a_pod_that_does_not_answer_is_noted_and_the_others_are_saved(tmp_path: Path, port: int) -> None:
    save_metrics([pod("dead", port=1), pod("alive", port=port)], tmp_path)
    assert "GET http://127.0.0.1:1/metrics: " in (tmp_path / "dead.admin.metrics").read_text()
    assert (tmp_path / "alive.admin.metrics").read_text().startswith("up")


def test_pods_without_an_address_or_such_a_port_are_passed_over(tmp_path: Path, port: int) -> None:
    save_metrics([pod("new", port=port, ip=None), pod("web", port=port, port_name="http")], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_pod_is_described_by_what_keeps_it_from_being_ready() -> None:
    found = pod("decode-0", port=8000)
    found["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    found["status"] |= {
        "conditions": [
            {"type": "PodScheduled", "status": "True"},
            {"type": "Ready", "status": "False", "reason": "ContainersNotReady", "message": "engine"},
        ],
        "containerStatuses": [
            {
                "name": "engine",
                "ready": False,
                "restartCount": 2,
                "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                "lastState": {"terminated": {"exitCode": 137}},
            }
        ],
    }
    assert describe([found]).splitlines() == [
        "decode-0: Running, terminating, on worker, at 127.0.0.1",
        "  Ready is False: ContainersNotReady engine",
        '  engine: not ready, restarted 2 times, waiting {"reason": "CrashLoopBackOff"}, '
        'before that terminated {"exitCode": 137}',
    ]


def test_a_pod_that_has_just_been_created_is_described_too() -> None:
    created = {"metadata": {"name": "p"}, "spec": {}, "status": {"phase": "Pending"}}
    assert describe([created]) == "p: Pending, on None, at None\n"

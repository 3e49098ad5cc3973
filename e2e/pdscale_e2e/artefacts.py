"""What pods say of themselves when a test has failed: why they are not ready, and their metrics.

It works on pods as the API's JSON has them and raises for nothing that a pod does: the test's own failure is
what must be seen, and half an account is better than none.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from pdscale_e2e.asking import ask

PORTS: Final = ("admin", "engine", "metrics")
_AT_ONCE: Final = 8  # pods of status nodes have addresses that nobody answers at: one by one would take long

Pod = Mapping[str, Any]


def describe(pods: Iterable[Pod]) -> str:
    """Phase, place, conditions and containers of each pod, for a reader in a hurry."""
    return "\n".join(line for pod in pods for line in _described(pod)) + "\n"


def save_metrics(pods: Sequence[Pod], folder: Path, *, timeout: float = 2.0) -> None:
    """``POD.PORT.metrics`` for each pod's port that has metrics; a failure is written in their place."""
    wanted = [
        (f"{pod['metadata']['name']}.{name}.metrics", f"http://{pod['status']['podIP']}:{port}/metrics")
        for pod in pods
        if pod["status"].get("podIP")
        for name, port in _ports(pod)
    ]
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        texts = threads.map(lambda each: _text(each[1], timeout), wanted)
        for (name, _), text in zip(wanted, texts, strict=True):
            (folder / name).write_text(text)


def _text(url: str, timeout: float) -> str:
    try:
        return ask("GET", url, timeout=timeout).decode(errors="replace")
    except OSError as error:
        return f"GET {url}: {error!r}\n"


def _ports(pod: Pod) -> Iterator[tuple[str, int]]:
    spec = pod["spec"]
    # A sidecar is an init container that stays.
    for container in (*(spec.get("initContainers") or ()), *(spec.get("containers") or ())):
        for port in container.get("ports") or ():
            if port.get("name") in PORTS:
                yield port["name"], port["containerPort"]


def _described(pod: Pod) -> Iterator[str]:
    spec, status, name = pod["spec"], pod["status"], pod["metadata"]["name"]
    leaving = ", terminating" if pod["metadata"].get("deletionTimestamp") else ""
    yield f"{name}: {status.get('phase')}{leaving}, on {spec.get('nodeName')}, at {status.get('podIP')}"
    for condition in status.get("conditions") or ():
        if condition["status"] != "True":
            why = " ".join(filter(None, (condition.get("reason"), condition.get("message"))))
            yield f"  {condition['type']} is {condition['status']}: {why}"
    for field in ("initContainerStatuses", "containerStatuses"):
        for container in status.get(field) or ():
            yield f"  {_container(container)}"


def _container(status: Mapping[str, Any]) -> str:
    ready = "ready" if status.get("ready") else "not ready"
    parts = [ready, f"restarted {status.get('restartCount', 0)} times", _state(status.get("state"))]
    if status.get("lastState"):
        parts.append(f"before that {_state(status['lastState'])}")
    return f"{status['name']}: {', '.join(filter(None, parts))}"


def _state(state: Mapping[str, Any] | None) -> str:
    """``waiting {"reason": ...}``: the API's words say it best."""
    return ", ".join(f"{kind} {json.dumps(found)}" for kind, found in (state or {}).items() if found)

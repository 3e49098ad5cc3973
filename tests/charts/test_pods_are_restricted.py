"""Every pod that the chart brings obeys the restricted Pod Security Standard, rule by rule."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

Json = dict[str, Any]
Render = Callable[..., list[Json]]

# https://kubernetes.io/docs/concepts/security/pod-security-standards: volumes that restricted pods may have.
VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}


def pods(found: list[Json]) -> Iterator[tuple[str, Json]]:
    for manifest in found:
        if manifest["kind"] == "Pod":
            yield manifest["metadata"]["name"], manifest["spec"]
        elif manifest["kind"] == "Deployment":
            yield manifest["metadata"]["name"], manifest["spec"]["template"]["spec"]


def violations(spec: Json) -> list[str]:
    pod = spec.get("securityContext", {})
    found = [f"{name} is set" for name in ("hostNetwork", "hostPID", "hostIPC") if spec.get(name)]
    found += [v["name"] for v in spec.get("volumes", ()) if not VOLUMES & set(v)]
    for container in [*spec["containers"], *spec.get("initContainers", ())]:
        context = {**pod, **container.get("securityContext", {})}
        found += [
            f"{container['name']}: {rule}"
            for rule, kept in {
                "runAsNonRoot": context.get("runAsNonRoot") is True and context.get("runAsUser") != 0,
                "seccompProfile": context.get("seccompProfile") == {"type": "RuntimeDefault"},
                "allowPrivilegeEscalation": context.get("allowPrivilegeEscalation") is False,
                "capabilities": context.get("capabilities") == {"drop": ["ALL"]},
                "hostPort": not any(p.get("hostPort") for p in container.get("ports", ())),
            }.items()
            if not kept
        ]
    return found


def test_all_pods_are_restricted(render: Render) -> None:
    found = dict(pods(render(prometheusServer={"enabled": True, "storage": "1Gi"})))
    assert set(found) == {"pdscale", "pdscale-prometheus", "pdscale-test"}
    assert [(name, slip) for name, spec in found.items() for slip in violations(spec)] == []


def test_roots_are_read_only_and_memory_is_limited(render: Render) -> None:
    for name, spec in pods(render(prometheusServer={"enabled": True})):
        for container in spec["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True, name
            assert "memory" in container["resources"]["limits"], name


@pytest.mark.parametrize(
    ("spec", "violated"),
    [
        pytest.param({"hostNetwork": True}, "hostNetwork is set", id="host_network"),
        pytest.param({"volumes": [{"name": "node", "hostPath": {"path": "/"}}]}, "node", id="host_path"),
        pytest.param({"securityContext": {}}, "c: runAsNonRoot", id="root"),
    ],
)
def test_the_check_itself_would_find_a_slip(spec: Json, violated: str) -> None:
    context = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    good = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    whole = {"securityContext": good, "containers": [{"name": "c", "securityContext": context}]}
    assert violations(whole) == []
    assert violated in violations({**whole, **spec})

"""Parts that pods of both kinds have: ports by name, probes, and what our own containers may do."""

from typing import Any, Final

Part = dict[str, Any]

HTTP: Final = "http"
ADMIN: Final = "admin"
PICKER: Final = "grpc-ext-proc"
HTTP_PORT: Final = 8080
ADMIN_PORT: Final = 9090
PICKER_PORT: Final = 9002
RESTRICTED: Final[Part] = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "runAsUser": 65532,
    "seccompProfile": {"type": "RuntimeDefault"},
}
SMALL: Final[Part] = {"requests": {"cpu": "100m", "memory": "96Mi"}}


def port(name: str, number: int) -> Part:
    """Of a container."""
    return {"name": name, "containerPort": number, "protocol": "TCP"}


def scraped(port: int) -> dict[str, str]:
    return {"prometheus.io/scrape": "true", "prometheus.io/port": str(port)}


def probe(path: str, port: str, *, period: int, failures: int) -> Part:
    return {
        "httpGet": {"path": path, "port": port},
        "periodSeconds": period,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }

"""Reads and writes the kubeconfigs of the test bed, and asks an API server one question at a time.

Readiness is polled before any client library is worth loading, and the node agent speaks raw JSON:
both need only a server's address and a TLS context. Credentials that need a program to be run
(``exec``) are refused with a message: the test bed's own clusters have certificates or tokens.
"""

import base64
import json
import ssl
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pdscale_e2e.asking import ask


@dataclass(frozen=True, slots=True)
class Access:
    """How to reach one API server as one user."""

    server: str
    tls: ssl.SSLContext
    token: str | None = None

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    def get(self, path: str) -> bytes:
        """Raises ``OSError`` for anything but success."""
        return self._ask("GET", path)

    def delete(self, path: str) -> bytes:
        """Raises ``OSError`` for anything but success."""
        return self._ask("DELETE", path)

    def _ask(self, method: str, path: str) -> bytes:
        return ask(method, self.server + path, tls=self.tls, headers=self.headers)


def write(path: Path, *, server: str, ca: Path, certificate: Path, key: Path) -> Path:
    """JSON is YAML, so no YAML writer is needed."""
    cluster = {"server": server, "certificate-authority": str(ca)}
    user = {"client-certificate": str(certificate), "client-key": str(key)}
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "pdscale-e2e",
        "contexts": [{"name": "pdscale-e2e", "context": {"cluster": "pdscale-e2e", "user": "pdscale-e2e"}}],
        "clusters": [{"name": "pdscale-e2e", "cluster": cluster}],
        "users": [{"name": "pdscale-e2e", "user": user}],
    }
    path.write_text(json.dumps(content, indent=1))
    path.chmod(0o600)
    return path


def read(path: Path) -> Access:
    """The access that the file's current context describes."""
    content = yaml.safe_load(path.read_text())
    context = _named(content, "contexts", content["current-context"])["context"]
    cluster = _named(content, "clusters", context["cluster"])["cluster"]
    user = _named(content, "users", context["user"]).get("user") or {}
    if "exec" in user or "auth-provider" in user:
        raise ValueError(
            f"{path}: user {context['user']!r} gets its credentials from a program; "
            "use a kubeconfig with a client certificate or a token"
        )
    token = user.get("token")
    if token is None and "tokenFile" in user:
        token = Path(user["tokenFile"]).read_text().strip()
    return Access(cluster["server"].rstrip("/"), _tls(cluster, user), token)


def _named(content: Mapping[str, Any], kind: str, name: str) -> dict[str, Any]:
    entry: dict[str, Any] = next(e for e in content[kind] if e["name"] == name)
    return entry


def _tls(cluster: Mapping[str, Any], user: Mapping[str, Any]) -> ssl.SSLContext:
    ca = cluster.get("certificate-authority-data")
    context = ssl.create_default_context(
        cafile=cluster.get("certificate-authority"),
        cadata=base64.b64decode(ca).decode() if ca else None,
    )
    if cluster.get("insecure-skip-tls-verify"):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if "client-certificate" in user:
        context.load_cert_chain(user["client-certificate"], user["client-key"])
    elif "client-certificate-data" in user:
        # The ssl module reads certificates from files only.
        with tempfile.NamedTemporaryFile(suffix=".pem") as pem:
            pem.write(base64.b64decode(user["client-certificate-data"]))
            pem.write(base64.b64decode(user["client-key-data"]))
            pem.flush()
            context.load_cert_chain(pem.name)
    return context

"""Keys and certificates of a throw-away cluster, made by the ``openssl`` command.

P-256 keys, because they are made in milliseconds. Everything is valid for some days and lies in the
cluster's work folder, which goes with the cluster.
"""

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pdscale_e2e.binaries import MissingTool

_DAYS: Final = "30"
_NEW_KEY: Final = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
_EXTENSIONS: Final = """\
[req]
distinguished_name = none
[none]
[ca]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign, digitalSignature
subjectKeyIdentifier = hash
[leaf]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth, clientAuth
"""


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key, as files."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Authority:
    """Signs the certificates of one cluster."""

    folder: Path
    pair: Pair

    @classmethod
    def create(cls, folder: Path) -> "Authority":
        if shutil.which("openssl") is None:
            raise MissingTool("openssl not found: install it, the local cluster needs certificates")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "openssl.cnf").write_text(_EXTENSIONS)
        pair = Pair(folder / "ca.crt", folder / "ca.key")
        subject = _request(folder, pair.key, "/CN=pdscale-e2e", output=pair.certificate)
        _openssl(*subject, "-x509", "-days", _DAYS, "-extensions", "ca")
        return cls(folder, pair)

    def issue(self, name: str, *, user: str, group: str = "", names: Sequence[str] = ()) -> Pair:
        """``user`` and ``group`` are what the API server takes from a client's certificate."""
        pair = Pair(self.folder / f"{name}.crt", self.folder / f"{name}.key")
        request, extensions = self.folder / f"{name}.csr", self.folder / f"{name}.cnf"
        subject = (f"/O={group}" if group else "") + f"/CN={user}"
        alternative = f"subjectAltName = {', '.join(names)}\n" if names else ""
        extensions.write_text(_EXTENSIONS + alternative)
        _openssl(*_request(self.folder, pair.key, subject, output=request))
        _openssl(
            *("x509", "-req", "-in", request, "-out", pair.certificate, "-days", _DAYS),
            *("-CA", self.pair.certificate, "-CAkey", self.pair.key, "-CAcreateserial"),
            *("-extfile", extensions, "-extensions", "leaf"),
        )
        return pair


def signing_key(folder: Path) -> tuple[Path, Path]:
    """The private and public key for ServiceAccount tokens."""
    private, public = folder / "sa.key", folder / "sa.pub"
    _openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", private)
    _openssl("ec", "-in", private, "-pubout", "-out", public)
    return private, public


def _request(folder: Path, key: Path, subject: str, *, output: Path) -> list[str | Path]:
    words = ("req", "-new", *_NEW_KEY, "-config", folder / "openssl.cnf")
    return [*words, "-subj", subject, "-keyout", key, "-out", output]


def _openssl(*arguments: str | Path) -> None:
    run = subprocess.run(["openssl", *arguments], capture_output=True, text=True)
    if run.returncode:
        raise RuntimeError(f"openssl {arguments[0]} failed: {run.stderr.strip()}")

"""How one metrics server is reached: address, credentials, certificates, patience. Judged once, a value then.

Credentials are texts and not paths: the operator takes them out of Secrets, the command line out of files,
and a text that has changed makes another value, hence another client.
"""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from pdscale.model.units import Seconds


@dataclass(frozen=True, slots=True)
class Bearer:
    """A token for the ``Authorization`` header."""

    token: str = field(repr=False)

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[\x21-\x7e]+", self.token):
            raise ValueError(
                "bearer token must be one word of printable characters, without line ends inside"
            )

    @property
    def header(self) -> str:
        return f"Bearer {self.token}"


@dataclass(frozen=True, slots=True)
class Basic:
    """A user's name and password for the ``Authorization`` header."""

    username: str
    password: str = field(repr=False)

    def __post_init__(self) -> None:
        if ":" in self.username:
            raise ValueError(f"basic authentication's user name must hold no colon, got {self.username!r}")

    @property
    def header(self) -> str:
        pair = f"{self.username}:{self.password}".encode()
        return f"Basic {base64.b64encode(pair).decode()}"


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM texts. ``ca`` replaces the system's authorities; ``certificate`` and ``key`` show who we are."""

    ca: str | None = None
    certificate: str | None = None
    key: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("a client certificate and its key must be given together, got one of them")


@dataclass(frozen=True, slots=True)
class Access:
    """One server for one kind of visitor; equal values may share a client."""

    url: str
    credentials: Bearer | Basic | None = None
    tls: Tls | None = None
    timeout: Seconds = 5.0

    def __post_init__(self) -> None:
        if not self.timeout > 0:
            raise ValueError(f"timeout must be above 0s, got {self.timeout}s")
        if not re.match(r"https?://[^/]", self.url):
            raise ValueError(f"metrics server URL must begin with http:// or https://, got {self.url!r}")
        if self.tls is not None and not self.url.startswith("https://"):
            raise ValueError(f"certificates need an https:// address, got {self.url!r}")
        object.__setattr__(self, "url", self.url.rstrip("/"))

    @property
    def headers(self) -> Mapping[str, str]:
        return {} if self.credentials is None else {"Authorization": self.credentials.header}

"""Who may come in at the client port, and to which paths: judged by the head, before a body is read."""

import hmac
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pdscale.router.wire.errors import BadRequest
from pdscale.router.wire.request import Head

_PREFIX: Final = b"/v1/"
_DOT, _PERCENT = b".%"  # bytes by their numbers: to find one that way takes a tenth
_CHALLENGE: Final = b"www-authenticate: Bearer\r\n"


@dataclass(frozen=True, slots=True)
class Guard:
    """``token`` is absent where anybody may come in."""

    token: bytes | None = None

    def __call__(self, head: Head) -> None:
        path = head.path
        if path[: len(_PREFIX)] != _PREFIX:
            raise BadRequest(404, "there is nothing here but /v1/")
        if (_DOT in path or _PERCENT in path) and _climbs(path):
            raise BadRequest(400, "the path must not have . or .. as a segment")
        if self.token is not None:
            self._authenticate(head, self.token)

    def _authenticate(self, head: Head, token: bytes) -> None:
        scheme, _, given = (head.value(b"authorization") or b"").partition(b" ")
        if scheme.lower() != b"bearer" or not hmac.compare_digest(given.strip(), token):
            raise BadRequest(401, "a bearer token is needed", headers=_CHALLENGE)


def read_token(file: Path) -> bytes:
    token = file.read_bytes().strip()
    if not token:
        raise ValueError(f"tokenFile must hold a token, got nothing in {file}")
    return token


def _climbs(path: bytes) -> bool:
    """Whether whoever resolves it could end up outside of the prefix that was looked at."""
    plain = (
        path.lower().replace(b"%2e", b".").replace(b"%2f", b"/").replace(b"%5c", b"/").replace(b"\\", b"/")
    )
    return any(part in (b".", b"..") for part in plain.split(b"/"))

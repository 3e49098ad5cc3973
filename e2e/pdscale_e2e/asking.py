"""One question over HTTP, for readiness checks that run before any client library is worth loading.

Every failure is an ``OSError``, and every socket is closed: polling a server that is not up yet fails
often, and what it leaves open would be reported as a leak of whatever test runs next.
"""

import ssl
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import urlsplit


class Unsuccessful(OSError):
    """The server answered, but not with success; ``status`` is its HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


def ask(
    method: str,
    url: str,
    *,
    tls: ssl.SSLContext | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float = 5.0,
) -> bytes:
    parts = urlsplit(url)
    connection: HTTPConnection
    if parts.scheme == "https":
        connection = HTTPSConnection(parts.netloc, timeout=timeout, context=tls)
    else:
        connection = HTTPConnection(parts.netloc, timeout=timeout)
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    try:
        connection.request(method, path or "/", headers=dict(headers or {}))
        response = connection.getresponse()
        body = response.read()
    except HTTPException as error:
        raise OSError(f"{method} {url}: {error!r}") from error
    finally:
        connection.close()
    if response.status >= 400:
        raise Unsuccessful(response.status, body.decode(errors="replace")[:300])
    return body

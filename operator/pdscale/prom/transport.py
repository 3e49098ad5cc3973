"""What HTTP to a metrics server may cost: one attempt, so many bytes and seconds. And what its clock says.

``requests`` knows a timeout for each read only: a server that drips holds its thread for hours, and one that
answers a year in seconds' steps fills the memory before anybody sees a byte. Here a body is read in pieces
under a deadline and a limit, both of the whole exchange. It also verifies by a list of authorities that it
brings along; here they are those of ``Tls``, or what OpenSSL finds (``SSL_CERT_FILE``, ``SSL_CERT_DIR``).
"""

import ssl
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Final, cast
from urllib.parse import urlencode

import requests
import urllib3.exceptions
from requests.adapters import HTTPAdapter
from urllib3.util.retry import Retry

from pdscale.model.units import Seconds
from pdscale.prom.access import Tls

MOST_BYTES: Final = 32 * 2**20  # twenty times a page of all measures
LONG: Final = 2048  # bytes of a query that any address has room for
NO_FORMS: Final = frozenset({403, 404, 405, 411, 413, 415, 501})  # what a form is refused by, as such
_PIECE: Final = 64 * 1024
_DATE_STEP: Final[Seconds] = 1.0  # resolution of the Date header


class TooLarge(requests.RequestException):
    """The server sent more than anybody asked for."""


class Session(requests.Session):
    """One whose environment counts for nothing, and that asks what is long by a form.

    Proxies take addresses of 8 KiB (nginx, by default), and a history's is longer; urllib3 reads them byte by
    byte, twice, which is 0.6 ms of each tick. Who stands in front of a metrics server may let readers ``GET``
    only: a server that refuses a form and then answers is asked by ``GET`` from then on.

    A query in an address is quoted once: the library would take it apart and quote it anew.
    """

    def __init__(self) -> None:
        super().__init__()
        self.trust_env = False
        self._forms = True

    def request(self, method: str, url: str | bytes, **options: Any) -> requests.Response:  # type: ignore[override]
        form = urlencode(options.get("params") or {})
        if not self._forms or method != "GET" or len(form) <= LONG:
            return super().request(method, url, **options)
        headers = {**(options.get("headers") or {}), "Content-Type": "application/x-www-form-urlencoded"}
        answer = super().request("POST", url, **{**options, "params": None, "headers": headers, "data": form})
        if answer.status_code not in NO_FORMS:
            return answer
        answer = super().request(method, url, **options)
        self._forms = not answer.ok
        return answer

    def prepare_request(self, request: requests.Request) -> requests.PreparedRequest:
        query, request.params = urlencode(cast(Mapping[str, object], request.params)), {}
        prepared = super().prepare_request(request)
        if query:
            prepared.url = f"{prepared.url}?{query}"
        return prepared


class BoundedTransport(HTTPAdapter):
    """One attempt per request. ``skew``: the server's clock less ours, ``None`` while it has not told."""

    def __init__(
        self,
        tls: Tls | None,
        *,
        deadline: Seconds,
        most_bytes: int = MOST_BYTES,
        clock: Callable[[], Seconds] = time.time,
    ) -> None:
        self._context = context_of(tls or Tls())
        self._deadline = deadline
        self._most_bytes = most_bytes
        self._clock = clock
        self.skew: Seconds | None = None
        super().__init__(max_retries=Retry(0, read=False))

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options, ssl_context=self._context)

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """The context says whom to trust; the library must not add its own authorities to it."""

    def send(self, request: requests.PreparedRequest, *arguments: Any, **options: Any) -> requests.Response:
        until = time.monotonic() + self._deadline
        sent = self._clock()
        response = super().send(request, *arguments, **{**options, "stream": True})
        self._note_clock(response, sent=sent, received=self._clock())
        pieces, size = [], 0
        try:
            for piece in _pieces(response):
                pieces.append(piece)
                size += len(piece)
                if size > self._most_bytes:
                    raise TooLarge(f"the answer is larger than {self._most_bytes / 2**20:g} MiB")
                if time.monotonic() > until:
                    raise requests.Timeout("the answer takes too long")
        finally:
            response.close()
        response._content = b"".join(pieces)  # where the library itself keeps a body that was read
        return response

    def _note_clock(self, response: requests.Response, *, sent: Seconds, received: Seconds) -> None:
        """Half a second and half the way are nobody's error; a stored answer's date is an old one."""
        if "Age" in response.headers or "Date" not in response.headers:
            return
        try:
            said = parsedate_to_datetime(response.headers["Date"]).timestamp() + _DATE_STEP / 2
        except ValueError:
            return
        away = said - (sent + received) / 2
        doubt = _DATE_STEP / 2 + (received - sent) / 2
        self.skew = 0.0 if abs(away) <= doubt else away


def _pieces(response: requests.Response) -> Iterator[bytes]:
    """As they come: the library's own reading waits until a whole piece is there."""
    try:
        while piece := response.raw.read1(_PIECE, decode_content=True):
            yield piece
    except urllib3.exceptions.TimeoutError as error:
        raise requests.Timeout(str(error)) from error
    except urllib3.exceptions.HTTPError as error:
        raise requests.ConnectionError(str(error)) from error


def context_of(tls: Tls) -> ssl.SSLContext:
    """Trusts ``ca``, or else the system's authorities. Raises ``ValueError`` where a text is not PEM."""
    try:
        context = ssl.create_default_context(cadata=tls.ca)
    except (ssl.SSLError, ValueError) as error:
        raise ValueError(f"the CA must be certificates in PEM: {error}") from error
    if tls.certificate is not None and tls.key is not None:
        # The standard library reads a key from a file only: one that nobody else can read, for a moment.
        with tempfile.NamedTemporaryFile("w") as both:
            both.write(f"{tls.certificate}\n{tls.key}\n")
            both.flush()
            try:
                context.load_cert_chain(both.name, password=_refuse_password)
            except (ssl.SSLError, ValueError) as error:
                raise ValueError(
                    f"the client certificate and its key must be PEM and belong together: {error}"
                ) from error
    return context


def _refuse_password() -> str:
    """Else an encrypted key would ask on the terminal."""
    raise ValueError("the key is encrypted; give it without a password")

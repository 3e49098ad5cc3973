"""The optional validating webhook: HTTPS with a certificate that may be renewed while we run.

Its own server, because who scrapes metrics need not speak TLS, and its own port, because policies of networks
let others reach it. A renewed certificate counts from the next handshake on: the files are looked at there.
"""

import logging
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from aiohttp import web

from pdscale.controller.admin import one_request_each
from pdscale.controller.admission import Admission, NotAReview

PATH: Final = "/validate"
CERTIFICATE: Final = "tls.crt"  # as Secrets of the type kubernetes.io/tls name them
KEY: Final = "tls.key"
LARGEST: Final = 8 * 2**20  # bytes; an object is at most 1.5 MiB, and a review has two

_log = logging.getLogger("pdscale.webhook")


class NoCertificate(Exception):
    """The directory has no certificate and key that fit each other."""


@dataclass(slots=True)
class Certificates:
    """A server's certificate and key in a directory, as a Secret is mounted."""

    directory: Path
    _stamps: tuple[int, ...] = ()
    _newest: ssl.SSLContext = field(init=False)

    @classmethod
    def of(cls, directory: Path) -> Self:
        found = cls(directory)
        try:
            found._load()
        except (OSError, ssl.SSLError) as error:
            raise NoCertificate(f"{directory} must have {CERTIFICATE} and {KEY}: {error}") from error
        return found

    def context(self) -> ssl.SSLContext:
        """What a server listens with; each handshake takes the files as they are by then."""
        listening = self._newest
        listening.sni_callback = self._handshake
        return listening

    def _handshake(self, tls: ssl.SSLObject, _: str | None, __: ssl.SSLContext) -> None:
        try:
            if self._look() != self._stamps:
                self._load()
                _log.info("the certificate in %s is new", self.directory)
        except (OSError, ssl.SSLError) as error:
            _log.warning("the certificate in %s cannot be read, the former stays: %s", self.directory, error)
        tls.context = self._newest

    def _look(self) -> tuple[int, ...]:
        return tuple((self.directory / name).stat().st_mtime_ns for name in (CERTIFICATE, KEY))

    def _load(self) -> None:
        stamps = self._look()
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.directory / CERTIFICATE, self.directory / KEY)
        self._newest, self._stamps = context, stamps


def application(admission: Admission) -> web.Application:
    async def validate(request: web.Request) -> web.Response:
        try:
            answer: dict[str, Any] = await admission.review(await request.read())
        except NotAReview as error:
            return web.Response(text=str(error), status=400)
        return web.json_response(answer)

    app = web.Application(client_max_size=LARGEST)
    app.on_response_prepare.append(one_request_each)
    app.add_routes([web.post(PATH, validate)])
    return app

"""Calls to engines and other routers, and their answers. aiohttp's exceptions end here.

No limit on connections and no queue: KV that waits for a decode leg is on a lease.
"""

from collections.abc import Iterable
from functools import partial
from typing import Final

import aiohttp

from pdscale.model.units import Seconds
from pdscale.placement.exchange import Failure

# Engines drop idle connections after 5 s (uvicorn); one dropped while we write looks like a crash.
IDLE_CONNECTION: Final[Seconds] = 3.0
_CONNECT: Final[Seconds] = 1.0
_SILENCE: Final[Seconds] = 600.0  # between two reads: longer than any queue worth waiting in


class LegFailed(Exception):
    """A call gave no (whole) answer; ``failure`` says what became of it."""

    def __init__(self, failure: Failure, detail: str) -> None:
        super().__init__(f"{failure}: {detail}")
        self.failure = failure


def new_client() -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=IDLE_CONNECTION, ttl_dns_cache=60)
    return aiohttp.ClientSession(
        connector=connector,
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=("User-Agent", "Accept-Encoding", "Content-Type"),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT, sock_read=_SILENCE),
    )


class Answer:
    """An answer whose head is here and whose body is not, yet."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status = response.status

    @property
    def headers(self) -> Iterable[tuple[str, str]]:
        return self._response.headers.items()

    def header(self, name: str) -> str | None:
        return self._response.headers.get(name)

    @property
    def streams(self) -> bool:
        return self._response.content_type == "text/event-stream"

    async def chunk(self) -> bytes:
        """What has arrived; empty at the end."""
        try:
            return await self._response.content.readany()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise LegFailed(Failure.CUT, repr(error)) from error

    async def whole(self) -> bytes:
        pieces = []
        while piece := await self.chunk():
            pieces.append(piece)
        return b"".join(pieces)

    def close(self) -> None:
        """Give the connection back if the body was read to its end, else break it: engines abort."""
        if self._response.content.is_eof():
            self._response.release()
        else:
            self._response.close()


class Legs:
    def __init__(self, client: aiohttp.ClientSession) -> None:
        self._client = client

    async def open(
        self,
        url: str,
        *,
        method: str,
        headers: Iterable[tuple[str, str]],
        content: bytes,
        replay: bool = False,
    ) -> Answer:
        """Send a request and wait for the head of its answer.

        ``replay`` sends it once more when a kept-alive connection turns out to be closed. Never
        for a leg with transfer parameters, which may have been used by then.
        """
        send = partial(
            self._client.request,
            method,
            url,
            headers=list(headers),
            data=content or None,
            allow_redirects=False,
        )
        try:
            try:
                response = await send()
            except aiohttp.ServerDisconnectedError:
                if not replay:
                    raise
                response = await send()
        except aiohttp.ConnectionTimeoutError as error:  # nobody there, as after a refusal
            raise LegFailed(Failure.UNREACHABLE, url) from error
        except TimeoutError as error:
            raise LegFailed(Failure.TIMED_OUT, url) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise LegFailed(Failure.UNREACHABLE, f"{url}: {error!r}") from error
        return Answer(response)


def failure_of(status: int) -> Failure | None:
    """What a status means for a leg; ``None`` for a good answer."""
    if status in (429, 503):
        return Failure.OVERLOADED
    if status >= 500:
        return Failure.ENGINE_ERROR
    return Failure.REJECTED if status >= 400 else None

"""The client's side of an answer, written as it comes.

A client that is gone is ``ClientGone``, however it shows.
"""

from collections.abc import Callable, Iterable

from aiohttp import web
from multidict import CIMultiDict

from pdscale.engines.answers import error_body
from pdscale.engines.hygiene import answer_headers

Headers = Iterable[tuple[str, str]]


class ClientGone(Exception):
    """Nobody reads what we write."""


class Outlet:
    """One answer. ``extra`` are headers of the router's own, asked for when the head is written."""

    def __init__(
        self,
        request: web.BaseRequest,
        *,
        extra: Callable[[], Headers] = tuple,
        last: Callable[[], bool] = bool,
    ) -> None:
        self._request, self._extra, self._last = request, extra, last
        self.response: web.StreamResponse | None = None

    async def begin(self, status: int, headers: Headers) -> None:
        response = web.StreamResponse(status=status, headers=self._headers(headers))
        await self._prepare(response)

    async def write(self, chunk: bytes) -> None:
        if chunk and self.response is not None:
            try:
                await self.response.write(chunk)
            except ConnectionError as error:
                raise ClientGone from error

    async def end(self) -> None:
        if self.response is not None:
            try:
                await self.response.write_eof()
            except ConnectionError as error:
                raise ClientGone from error

    async def whole(self, status: int, headers: Headers, content: bytes, *, own: Headers = ()) -> None:
        """An answer with a length, in one piece. ``own`` headers are the router's, not an engine's."""
        names = self._headers(headers)
        names.extend(own)
        await self._prepare(web.Response(status=status, headers=names, body=content))
        await self.end()

    async def error(self, status: int, message: str, *, kind: str, own: Headers = ()) -> None:
        content = error_body(message, kind=kind, status=status)
        await self.whole(status, [("Content-Type", "application/json")], content, own=own)

    async def cut(self, message: str, *, status: int) -> None:
        """End a stream that cannot go on: an error event, then the end, without a ``[DONE]``."""
        body = error_body(message, kind="UpstreamLost", status=status)
        await self.write(b"data: " + body + b"\n\n")
        await self.end()

    def _headers(self, headers: Headers) -> CIMultiDict[str]:
        return CIMultiDict([*answer_headers(headers), *self._extra()])

    async def _prepare(self, response: web.StreamResponse) -> None:
        if self._last():
            response.force_close()
        try:
            await response.prepare(self._request)
        except ConnectionError as error:
            raise ClientGone from error
        self.response = response

"""One OpenAI endpoint over HTTP, with the times at which its answers arrive.

A whole answer is timed from the first byte sent to the last one read; a stream by the arrival of each of its
events. Connections are kept and reused, so that few answers have a new one in their time.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

import aiohttp

from pdscale.model.units import Seconds
from pdscale.scenarios.profiling.errors import EngineGone, EngineRefused

PATIENCE: Final = 120.0
"""Seconds without a byte after which an engine counts as gone; a prompt of 128k tokens may take a minute."""

_CONNECT: Final = 5.0
_KEPT: Final = 2.0  # uvicorn closes connections that were idle for 5 s
_DATA: Final = b"data: {"


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer. ``cached`` is absent where the engine reports no prefix hits."""

    seconds: Seconds
    prompt: int
    completion: int
    cached: int | None
    body: Mapping[str, Any]


class Engine:
    """Use it as a context: the connections are closed at its end."""

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        self.url = url
        self._headers = dict(headers)

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession(
            headers=self._headers,
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEPT),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT, sock_read=PATIENCE),
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._http.close()

    async def models(self) -> list[Mapping[str, Any]]:
        """Cards of the models that are served."""
        async with self._asked("GET", "/v1/models") as response:
            return list(_object(await response.read(), self.url).get("data") or [])

    async def metrics(self) -> str | None:
        """The text of ``/metrics``, if there is one."""
        try:
            async with self._asked("GET", "/metrics") as response:
                return await response.text()
        except EngineRefused:
            return None

    async def whole(self, path: str, body: Mapping[str, Any]) -> Answer:
        """One answer that comes at once."""
        content = json.dumps(body).encode()
        clock = asyncio.get_running_loop().time
        began = clock()
        async with self._asked("POST", path, content) as response:
            read = await response.read()
        seconds = clock() - began
        document = _object(read, self.url)
        usage = document.get("usage")
        if not isinstance(usage, dict) or not isinstance(usage.get("prompt_tokens"), int):
            raise EngineRefused(
                f"{self.url}{path}: answers must have usage.prompt_tokens, by which tokens are counted", 200
            )
        details = usage.get("prompt_tokens_details")
        cached = details.get("cached_tokens") if isinstance(details, dict) else None
        completion = usage.get("completion_tokens")
        return Answer(
            seconds,
            usage["prompt_tokens"],
            completion if isinstance(completion, int) else 0,
            cached if isinstance(cached, int) else None,
            document,
        )

    async def arrivals(
        self, path: str, body: Mapping[str, Any]
    ) -> AsyncGenerator[tuple[Seconds, bytes], None]:
        """When each event of a stream arrived, on the event loop's clock, and its JSON. Whoever
        closes the iterator hangs up, by which an engine stops generating."""
        content = json.dumps(dict(body, stream=True)).encode()
        clock = asyncio.get_running_loop().time
        async with self._asked("POST", path, content) as response:
            async for line in response.content:
                if line.startswith(_DATA):
                    yield clock(), line[len(_DATA) - 1 :]

    @asynccontextmanager
    async def _asked(
        self, method: str, path: str, content: bytes | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        headers = {"Content-Type": "application/json"} if content is not None else None
        try:
            async with self._http.request(
                method, f"{self.url}{path}", data=content, headers=headers
            ) as response:
                if response.status != 200:
                    raise _refused(self.url + path, response.status, await response.read())
                yield response
        except (aiohttp.ClientError, ConnectionError, TimeoutError) as error:
            raise _gone(self.url, error) from error


def _gone(url: str, error: Exception) -> EngineGone:
    said = str(error) or type(error).__name__
    return EngineGone(f"{url}: no engine answers there: {said}")


def _refused(url: str, status: int, content: bytes) -> EngineRefused:
    if status in (401, 403):
        return EngineRefused(
            f"{url}: answered {status}; --bearer-file names a file with the engine's token", status
        )
    said = " ".join(content.decode(errors="replace").split())[:200]
    return EngineRefused(f"{url}: answered {status}: {said}", status)


def _object(content: bytes, url: str) -> dict[str, Any]:
    try:
        document = json.loads(content)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise EngineRefused(f"{url}: must answer with a JSON object, got {content[:80]!r}", 200)
    return document

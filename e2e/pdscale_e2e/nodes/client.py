"""Raw JSON to and from an API server, and one list and watch that never ends.

Typed clients spend most of their time building objects that the agent would read two fields of. With
a few thousand pods that is the difference between a busy core and none.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Any, Final

import aiohttp

from pdscale_e2e.kubeconfig import Access

Json = dict[str, Any]

MERGE: Final = "application/merge-patch+json"
STRATEGIC: Final = "application/strategic-merge-patch+json"

_TIMEOUT: Final = aiohttp.ClientTimeout(total=10)
# The server ends a watch after this long; the client resumes where it was.
_WATCH_SECONDS: Final = 300
_RETRY_AFTER: Final = 0.5
_log = logging.getLogger(__name__)


class Refused(Exception):
    """The API server said no; ``status`` is its HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


class Unreachable(Exception):
    """The API server did not answer; trying again can help."""


class Kind(StrEnum):
    """What an event says about its object. ``SYNCED`` carries none: a full list has been passed on."""

    CHANGED = "changed"
    GONE = "gone"
    SYNCED = "synced"


@dataclass(frozen=True, slots=True)
class Event:
    kind: Kind
    item: Json


class Client:
    """One session for the whole agent; use it as a context manager."""

    def __init__(self, access: Access) -> None:
        self._access = access
        # Unlimited connections: a start-up burst of patches must not queue behind the watch.
        connector = aiohttp.TCPConnector(ssl=access.tls, limit=64)
        self._session = aiohttp.ClientSession(connector=connector, headers=access.headers, timeout=_TIMEOUT)

    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._session.close()

    async def get(self, path: str) -> Json:
        return await self._ask("GET", path)

    async def create(self, path: str, body: Json) -> Json:
        return await self._ask("POST", path, body, "application/json")

    async def replace(self, path: str, body: Json) -> Json:
        return await self._ask("PUT", path, body, "application/json")

    async def patch(self, path: str, body: Json, kind: str = MERGE) -> Json:
        return await self._ask("PATCH", path, body, kind)

    async def delete(self, path: str, body: Json | None = None) -> Json:
        return await self._ask("DELETE", path, body, "application/json")

    async def _ask(self, method: str, path: str, body: Json | None = None, kind: str | None = None) -> Json:
        content = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": kind} if kind and content is not None else {}
        url = self._access.server + path
        try:
            async with self._session.request(method, url, data=content, headers=headers) as response:
                text = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unreachable(f"{method} {path}: {error}") from error
        if response.status >= 400:
            raise Refused(response.status, f"{method} {path}: {_message(text)}")
        answer: Json = json.loads(text)
        return answer

    async def follow(self, path: str, query: Mapping[str, str]) -> AsyncIterator[Event]:
        """Every object, then every change, for ever: through disconnects, expiry and restarts."""
        known: dict[str, Json] = {}
        version = ""
        while True:
            try:
                if not version:
                    listing = await self._ask("GET", f"{path}?{_query(query)}")
                    for event in _differences(known, listing["items"]):
                        yield event
                    version = listing["metadata"]["resourceVersion"]
                    yield Event(Kind.SYNCED, {})
                async for change in self._watch(path, query, version):
                    item = change["object"]
                    if change["type"] == "ERROR":
                        raise Refused(item.get("code", 410), item.get("message", ""))
                    version = item["metadata"]["resourceVersion"]
                    if (news := _remember(known, change["type"], item)) is not None:
                        yield news
            except Refused as error:
                _log.info("watch of %s starts again: %s", path, error)
                version = ""
                await asyncio.sleep(0 if error.status == 410 else _RETRY_AFTER)
            except Unreachable as error:
                _log.info("watch of %s: %s", path, error)
                await asyncio.sleep(_RETRY_AFTER)

    async def _watch(self, path: str, query: Mapping[str, str], version: str) -> AsyncIterator[Json]:
        extra = {
            "watch": "1",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(_WATCH_SECONDS),
        }
        url = f"{self._access.server}{path}?{_query({**query, **extra})}"
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=_WATCH_SECONDS + 30)
        try:
            async with self._session.get(url, timeout=timeout) as response:
                if response.status >= 400:
                    raise Refused(response.status, _message(await response.read()))
                # Not readline: it refuses lines as long as some pods are.
                rest = b""
                async for chunk in response.content.iter_any():
                    *lines, rest = (rest + chunk).split(b"\n")
                    for line in lines:
                        yield json.loads(line)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unreachable(str(error) or type(error).__name__) from error


def _query(words: Mapping[str, str]) -> str:
    return "&".join(f"{name}={_quoted(value)}" for name, value in words.items())


def _quoted(value: str) -> str:
    return value.replace("%", "%25").replace("=", "%3D").replace("!", "%21").replace(",", "%2C")


def _message(text: bytes) -> str:
    try:
        return str(json.loads(text).get("message", ""))
    except ValueError:
        return text.decode(errors="replace")[:200]


def _differences(known: dict[str, Json], listed: list[Json]) -> list[Event]:
    """What changed while nobody watched; ``known`` is brought up to date."""
    now = {item["metadata"]["uid"]: item for item in listed}
    gone = [Event(Kind.GONE, item) for uid, item in known.items() if uid not in now]
    known.clear()
    known.update((uid, _stub(item)) for uid, item in now.items())
    return gone + [Event(Kind.CHANGED, item) for item in now.values()]


def _remember(known: dict[str, Json], kind: str, item: Json) -> Event | None:
    if kind == "BOOKMARK":
        return None
    uid = item["metadata"]["uid"]
    if kind == "DELETED":
        known.pop(uid, None)
        return Event(Kind.GONE, item)
    known[uid] = _stub(item)
    return Event(Kind.CHANGED, item)


def _stub(item: Json) -> Json:
    """Enough of an object to say later that it is gone."""
    metadata = item["metadata"]
    named = {key: metadata.get(key) for key in ("uid", "name", "namespace")}
    return {"metadata": named, "spec": {"nodeName": item.get("spec", {}).get("nodeName")}}

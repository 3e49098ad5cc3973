"""Keeps the roster true to the API: a LIST every minute and a WATCH in between, by plain HTTP.

Watches are known to go silent without an error, so each one is ended by the server after a minute,
by the client shortly after that, and followed by a LIST, which is the truth. While the API cannot
be reached the last view stays; its age is a metric.
"""

import asyncio
import logging
import random
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import orjson

from pdscale.model.units import Seconds
from pdscale.router.fleet.peers import DEPLOYMENT_LABEL, peer_of_pod
from pdscale.router.fleet.roster import Roster

log = logging.getLogger(__name__)

RELIST: Final[Seconds] = 60.0
_BACKOFF: Final = (0.5, 15.0)
_LONGEST_LINE: Final = 8 * 1024 * 1024


class ApiUnavailable(Exception):
    """The API server gave no usable answer; trying again later can help."""


class WatchExpired(Exception):
    """The watch's starting point is too old: list again, at once."""


@dataclass(frozen=True, slots=True)
class ApiAccess:
    """Where the API server is and how to be let in. The token is rotated, so it is read anew each time."""

    url: str
    token_file: Path | None = None
    ca_file: Path | None = None

    def headers(self) -> dict[str, str]:
        if self.token_file is None:
            return {}
        return {"Authorization": f"Bearer {self.token_file.read_text().strip()}"}

    def tls(self) -> ssl.SSLContext | bool:
        if self.ca_file is None:
            return True
        return ssl.create_default_context(cafile=str(self.ca_file))


class KubernetesDiscovery:
    """Follows the pods of one ServingDeployment."""

    def __init__(
        self,
        client: aiohttp.ClientSession,
        access: ApiAccess,
        roster: Roster,
        *,
        namespace: str,
        deployment: str,
        relist: Seconds = RELIST,
    ) -> None:
        self._client, self._access, self._roster = client, access, roster
        self._url = f"{access.url}/api/v1/namespaces/{namespace}/pods"
        self._selector = {"labelSelector": f"{DEPLOYMENT_LABEL}={deployment}"}
        self._relist = relist
        self._tls = access.tls()

    async def run(self) -> None:
        """List and watch for ever; errors only delay."""
        delay, most = _BACKOFF
        while True:
            try:
                version = await self._list()
                delay = _BACKOFF[0]
                await self._watch(version)
            except WatchExpired:
                continue
            except ApiUnavailable as error:
                log.warning("pods cannot be listed, keeping the last view: %s", error)
                await asyncio.sleep(delay * random.uniform(0.5, 1.0))
                delay = min(delay * 2, most)

    async def _list(self) -> str:
        try:
            async with self._get(self._selector, Seconds(10)) as answer:
                await _require_ok(answer)
                pods = orjson.loads(await answer.read())
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise ApiUnavailable(f"LIST: {error!r}") from error
        peers = [peer for pod in pods.get("items") or () if (peer := peer_of_pod(pod))]
        self._roster.replace_all(peers, now=_now())
        return str(pods.get("metadata", {}).get("resourceVersion", ""))

    async def _watch(self, version: str) -> None:
        """Apply events until the server ends the watch. An end, even a rude one, only means a LIST."""
        query = {
            **self._selector,
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(max(1, round(self._relist))),
        }
        try:
            async with self._get(query, self._relist + 5) as answer:
                await _require_ok(answer)
                rest = b""
                async for chunk in answer.content.iter_any():
                    *lines, rest = (rest + chunk).split(b"\n")
                    for line in lines:
                        self._apply(orjson.loads(line))
                    if len(rest) > _LONGEST_LINE:
                        raise ApiUnavailable(f"WATCH: an event above {_LONGEST_LINE} bytes")
        except TimeoutError:
            return
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise ApiUnavailable(f"WATCH: {error!r}") from error

    def _apply(self, event: Mapping[str, Any]) -> None:
        kind, thing = event.get("type"), event.get("object") or {}
        if kind == "ERROR":
            if thing.get("code") == 410:
                raise WatchExpired
            raise ApiUnavailable(f"WATCH: {thing.get('message', 'unnamed error')}")
        if kind == "BOOKMARK":
            self._roster.alive(_now())
            return
        peer = peer_of_pod(thing)
        if kind == "DELETED" or peer is None:
            self._roster.remove(thing.get("metadata", {}).get("uid", ""), now=_now())
        else:
            self._roster.put(peer, now=_now())

    def _get(self, query: Mapping[str, str], timeout: Seconds) -> "aiohttp.client._RequestContextManager":
        return self._client.get(
            self._url,
            params=query,
            headers=self._access.headers(),
            ssl=self._tls,
            timeout=aiohttp.ClientTimeout(total=timeout),
        )


async def _require_ok(answer: aiohttp.ClientResponse) -> None:
    if answer.status == 410:
        raise WatchExpired
    if answer.status != 200:
        text = (await answer.text())[:200]
        raise ApiUnavailable(f"status {answer.status}: {text}")


def _now() -> Seconds:
    return asyncio.get_running_loop().time()

"""The actions that probes and lifecycle hooks share: ask over HTTP, connect, execute, wait."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

import aiohttp

from pdscale_e2e.nodes.client import Json

Execute = Callable[[Sequence[str], float], Awaitable[int | None]]
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Target:
    """The container that a handler is aimed at. ``ports`` are its named ones."""

    address: str
    execute: Execute
    ports: Mapping[str, int] = field(default_factory=dict)

    def port(self, wanted: str | int) -> int:
        if isinstance(wanted, int) or wanted.isdigit():
            return int(wanted)
        if wanted not in self.ports:
            raise OSError(f"no port is named {wanted!r}")
        return self.ports[wanted]


async def perform(handler: Json, target: Target, within: float) -> str | None:
    """Do it; ``None`` is success, else why it failed, in words for an event or a log."""
    try:
        async with asyncio.timeout(within):
            if "httpGet" in handler:
                return await _http_get(handler["httpGet"], target)
            if "tcpSocket" in handler:
                return await _connect(handler["tcpSocket"], target)
            if "exec" in handler:
                code = await target.execute(handler["exec"]["command"], within)
                return None if code == 0 else f"command ended with {code}"
            if "sleep" in handler:
                await asyncio.sleep(handler["sleep"]["seconds"])
                return None
    except TimeoutError:
        return f"no answer within {within:g}s"
    except (aiohttp.ClientError, OSError) as error:
        return str(error)
    return f"handler {', '.join(handler)} is not supported by the node agent"


async def _http_get(action: Json, target: Target) -> str | None:
    scheme = action.get("scheme", "HTTP").lower()
    host = action.get("host") or target.address
    path = action.get("path", "/")
    url = f"{scheme}://{host}:{target.port(action['port'])}/{path.lstrip('/')}"
    headers = {header["name"]: header["value"] for header in action.get("httpHeaders") or ()}
    connector = aiohttp.TCPConnector(ssl=False, force_close=True)
    async with (
        aiohttp.ClientSession(connector=connector, headers=headers) as session,
        session.get(url, allow_redirects=False) as response,
    ):
        if 200 <= response.status < 400:
            return None
        return f"{url} answered {response.status}"


async def _connect(action: Json, target: Target) -> str | None:
    host = action.get("host") or target.address
    _, writer = await asyncio.open_connection(host, target.port(action["port"]))
    writer.close()
    return None

"""The page and its JSON over HTTP. The page is one file: it loads nothing, and runs its own script alone.

Its paths are relative, so that it works behind the API server's proxy, too.
"""

import base64
import hashlib
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from aiohttp import web

STATE: Final = "/ui/state"
PAGE: Final = Path(__file__).with_name("page.html")
_INLINE: Final = {"style-src": "style", "script-src": "script"}


def routes(state: Callable[[], Awaitable[dict[str, Any]]]) -> list[web.RouteDef]:
    """``/ui`` and what it asks every other second. ``/`` leads there."""
    page = PAGE.read_text()
    headers = {"Content-Security-Policy": policy(page), "X-Content-Type-Options": "nosniff"}

    async def shown(_: web.Request) -> web.Response:
        return web.Response(text=page, content_type="text/html", headers=headers)

    async def told(_: web.Request) -> web.Response:
        return web.json_response(await state(), headers={"Cache-Control": "no-store"})

    async def there(_: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": "ui"})

    return [web.get("/", there), web.get("/ui", shown), web.get("/ui/", shown), web.get(STATE, told)]


def policy(page: str) -> str:
    """What a browser lets the page do: its own style and script, told by their hashes, and its own JSON."""
    allowed = ["default-src 'none'", "connect-src 'self'", "base-uri 'none'", "frame-ancestors 'none'"]
    for directive, tag in _INLINE.items():
        texts = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.S)
        sums = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts)
        allowed.append(" ".join([directive, *(f"'sha256-{one}'" for one in sums)]))
    return "; ".join(allowed)

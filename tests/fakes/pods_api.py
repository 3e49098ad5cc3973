"""The two calls on pods that the router makes: LIST and WATCH, with resource versions, bookmarks and 410."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from aiohttp import web


def pod(
    name: str,
    role: str,
    *,
    ip: str = "127.0.0.1",
    uid: str = "",
    ready: bool = True,
    draining: bool = False,
    deleting: bool = False,
    http_port: int | None = None,
    admin_port: int | None = None,
    deployment: str = "chat",
) -> dict[str, Any]:
    """An engine pod with a native sidecar, as the API describes it."""
    ports = [
        {"name": n, "containerPort": p}
        for n, p in (("http", http_port), ("admin", admin_port))
        if p is not None
    ]
    meta: dict[str, Any] = {
        "name": name,
        "uid": uid or f"uid-{name}",
        "labels": {"pdscale.io/deployment": deployment, "pdscale.io/role": role},
        "annotations": {"pdscale.io/draining": "true"} if draining else {},
    }
    if deleting:
        meta["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    return {
        "metadata": meta,
        "spec": {
            "containers": [{"name": "engine"}],
            "initContainers": [{"name": "router", "ports": ports}],
        },
        "status": {
            "phase": "Running",
            "podIP": ip,
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
        },
    }


class FakePodsApi:
    def __init__(self, *, token: str = "") -> None:
        self.token = token
        self.pods: dict[str, dict[str, Any]] = {}
        self.lists = self.watches = 0
        self.fail_lists_with: int | None = None
        self._version = 1
        self._changed = asyncio.Condition()
        self._events: list[tuple[int, dict[str, Any]]] = []
        self._expired_below = 0
        self.url = ""

    async def __aenter__(self) -> "FakePodsApi":
        app = web.Application()
        app.router.add_get("/api/v1/namespaces/{namespace}/pods", self._pods)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def apply(self, thing: dict[str, Any]) -> None:
        name = thing["metadata"]["name"]
        kind = "MODIFIED" if name in self.pods else "ADDED"
        self.pods[name] = thing
        await self._emit({"type": kind, "object": thing})

    async def delete(self, name: str) -> None:
        await self._emit({"type": "DELETED", "object": self.pods.pop(name)})

    async def bookmark(self) -> None:
        await self._emit({"type": "BOOKMARK", "object": {"metadata": {}}})

    async def expire(self) -> None:
        """Every open watch gets a 410 event."""
        error = {"kind": "Status", "code": 410, "reason": "Expired"}
        await self._emit({"type": "ERROR", "object": error})

    def change_unseen(self, thing: dict[str, Any]) -> None:
        """A change that no watch tells of: only a LIST shows it."""
        self.pods[thing["metadata"]["name"]] = thing

    async def _emit(self, event: dict[str, Any]) -> None:
        async with self._changed:
            self._version += 1
            self._events.append((self._version, event))
            self._changed.notify_all()

    async def _pods(self, request: web.Request) -> web.StreamResponse:
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            return web.json_response({"kind": "Status", "code": 401}, status=401)
        if request.query.get("watch") == "true":
            return await self._watch(request)
        self.lists += 1
        if self.fail_lists_with is not None:
            return web.json_response({"kind": "Status"}, status=self.fail_lists_with)
        wanted = request.query["labelSelector"].partition("=")[2]
        items = [p for p in self.pods.values() if _deployment(p) == wanted]
        return web.json_response({"metadata": {"resourceVersion": str(self._version)}, "items": items})

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        self.watches += 1
        seen = int(request.query["resourceVersion"])
        answer = web.StreamResponse(headers={"Content-Type": "application/json"})
        await answer.prepare(request)
        try:
            async with asyncio.timeout(float(request.query["timeoutSeconds"])):
                while True:
                    async with self._changed:
                        while self._version <= seen:
                            await self._changed.wait()
                        fresh = [e for v, e in self._events if v > seen]
                        seen = self._version
                    for event in fresh:
                        await answer.write(json.dumps(event).encode() + b"\n")
        except TimeoutError:
            pass
        return answer


def _deployment(thing: Mapping[str, Any]) -> str:
    return str(thing["metadata"]["labels"]["pdscale.io/deployment"])

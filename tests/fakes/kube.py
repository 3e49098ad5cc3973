"""An API server over a real socket, with what operators fail on.

Resource versions, watches with bookmarks and 410 on demand, isolation of the status subresource, pruning by
the committed CRD, optimistic locking, the scale subresource, server-side apply with field ownership,
garbage collection by owner references. It neither validates nor schedules: ``run_pods`` plays the
controllers and kubelets. What it does differently from a real server is a defect of the fake.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web

from fakes import controllers
from fakes.kube_fields import Object, Refused
from fakes.kube_store import Key, Kind, Store

ROOT = Path(__file__).parents[2]
PLURAL = "servingdeployments"
NOT_CONVERTED = (
    "failed to convert new object (default/crew; autoscaling/v1, Kind=Scale) to proper version: "
    "request to convert CR to an invalid group/version: autoscaling/v1"
)
_PATH = re.compile(
    r"^/(?:api/(?P<core>v1)|apis/(?P<group>[^/]+/[^/]+))(?:/namespaces/(?P<ns>[^/]+))?"
    r"/(?P<plural>[a-z]+)(?:/(?P<name>[^/]+))?(?:/(?P<sub>status|scale))?$"
)


@cache
def kinds() -> tuple[Kind, ...]:
    crd = yaml.safe_load((ROOT / "crds" / "pdscale.io_servingdeployments.yaml").read_text())
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return (
        Kind("pdscale.io/v1alpha1", "ServingDeployment", PLURAL, ("status",), schema),
        Kind("apps/v1", "Deployment", "deployments", ("status", "scale")),
        Kind("apps/v1", "StatefulSet", "statefulsets", ("status", "scale")),
        Kind("gangs.example.com/v1", "Gang", "gangs", ("status", "scale")),  # of somebody's CRD
        Kind("autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers"),
        Kind("apps/v1", "ReplicaSet", "replicasets"),
        Kind("v1", "Pod", "pods", ("status",)),
        Kind("v1", "Service", "services"),
        Kind("v1", "ServiceAccount", "serviceaccounts"),
        Kind("v1", "ConfigMap", "configmaps"),
        Kind("v1", "Secret", "secrets"),
        Kind("v1", "ResourceQuota", "resourcequotas"),
        Kind("v1", "Event", "events"),
        Kind("v1", "Namespace", "namespaces"),
        Kind("rbac.authorization.k8s.io/v1", "RoleBinding", "rolebindings"),
        Kind("events.k8s.io/v1", "Event", "events"),
        Kind("coordination.k8s.io/v1", "Lease", "leases"),
        Kind("apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions"),
    )


@dataclass(frozen=True, slots=True)
class Call:
    """One request as it arrived."""

    method: str
    path: str
    body: Any = None
    watches: bool = False
    since: str = ""  # the resource version that a watch names

    @property
    def writes_status(self) -> bool:
        return self.method == "PATCH" and self.path.endswith("/status")


@dataclass(slots=True)
class Fault:
    """What happens to requests instead: a status code, or no answer at all."""

    hits: Callable[[Call], bool]
    status: int = 500
    silent: bool = False
    retry_after: str = ""  # a header of the answer
    times: int = 1_000_000


@dataclass(slots=True)
class FakeKube:
    """The server, its store, and what tests ask about it."""

    store: Store = field(default_factory=lambda: Store(kinds()))
    calls: list[Call] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    address: str = ""
    stalled: bool = False  # whether its ReplicaSets hear of nothing for now

    def writes(self) -> list[Call]:
        return [c for c in self.calls if c.method in ("POST", "PATCH", "PUT", "DELETE")]

    def get(self, plural: str, name: str, namespace: str = "default") -> Object:
        return self.store.get((plural, namespace, name))

    def has(self, plural: str, name: str, namespace: str = "default") -> bool:
        return (plural, namespace, name) in self.store.objects

    def events(self) -> list[Object]:
        return [o for (plural, _, _), o in self.store.objects.items() if plural == "events"]

    def kubeconfig(self, path: Path) -> str:
        cluster = {"name": "fake", "cluster": {"server": self.address}}
        context = {"name": "fake", "context": {"cluster": "fake", "user": "fake"}}
        users = [{"name": "fake", "user": {"token": "secret"}}]
        file = {"clusters": [cluster], "contexts": [context], "users": users, "current-context": "fake"}
        path.write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "Config", **file}))
        return str(path)

    def run_pods(self, *, ready: bool = True) -> None:
        """Deployment controller, scheduler and kubelets in one: pods follow the replicas at once."""
        controllers.run_pods(self, ready=ready)

    def patch_status(self, key: Key, patch: Object) -> None:
        self.store.patch(key, patch, subresource="status", manager="kubelet", is_json=False)


def _no_json(constant: str) -> None:
    """``Infinity`` and ``NaN`` are Python's own: an API server refuses the whole body."""
    raise ValueError(
        f"error decoding patch: invalid character {constant[0]!r} looking for beginning of value"
    )


class _Server:
    """HTTP on top of the store."""

    def __init__(self, fake: FakeKube) -> None:
        self.fake = fake
        self.store = fake.store

    async def handle(self, request: web.Request) -> web.StreamResponse:
        text = await request.text()
        try:
            body, query = json.loads(text, parse_constant=_no_json) if text else None, request.query
        except ValueError as error:
            return web.json_response({"kind": "Status", "code": 400, "message": str(error)}, status=400)
        watches, since = query.get("watch") == "true", query.get("resourceVersion", "")
        call = Call(request.method, request.path, body, watches, since)
        self.fake.calls.append(call)
        fault = next((f for f in self.fake.faults if f.times > 0 and f.hits(call)), None)
        try:
            if fault is not None:
                await _strike(fault)
            response = await self._route(request, call)
            if call.method == "PATCH" and not self.fake.stalled:
                controllers.follow(self.fake)
            return response
        except Refused as refused:
            wait = {"Retry-After": fault.retry_after} if fault is not None and fault.retry_after else {}
            return web.json_response(refused.body, status=refused.status, headers=wait)

    async def _route(self, request: web.Request, call: Call) -> web.StreamResponse:
        if (discovered := self._discovery(call.path)) is not None:
            return web.json_response(discovered)
        match = _PATH.match(call.path)
        if match is None or match["plural"] not in self.store.kinds:
            raise Refused(404, "NotFound", "the server could not find the requested resource")
        plural, namespace, name, sub = match["plural"], match["ns"], match["name"], match["sub"] or ""
        if name is None:
            return await self._collection(request, call, plural, namespace)
        return web.json_response(self._single(request, call, (plural, namespace or "", name), sub))

    async def _collection(
        self, request: web.Request, call: Call, plural: str, namespace: str | None
    ) -> web.StreamResponse:
        query = request.query
        if call.method == "POST":
            manager = query.get("fieldManager", "unknown")
            return web.json_response(
                self.store.create(plural, namespace or "", call.body, manager), status=201
            )
        if call.watches:
            return await self._watch(request, plural, namespace, int(call.since) if call.since else None)
        kind = self.store.kinds[plural]
        items = self.store.select(plural, namespace, query.get("labelSelector", ""))
        if kind.schema is None:  # items of built-in kinds do not repeat what the list says
            items = [{k: v for k, v in i.items() if k not in ("apiVersion", "kind")} for i in items]
        meta = {"resourceVersion": str(self.store.version)}
        head = {"kind": f"{kind.kind}List", "apiVersion": kind.api_version, "metadata": meta}
        return web.json_response({**head, "items": items})

    def _single(self, request: web.Request, call: Call, key: Key, sub: str) -> Object:
        if sub and sub not in self.store.kinds[key[0]].subresources:
            raise Refused(404, "NotFound", f"the server has no {key[0]}/{sub}")
        if call.method == "GET":
            item = self.store.get(key)
            return _scale(item) if sub == "scale" else item
        if call.method == "DELETE":
            return self.store.delete(key)
        if call.method != "PATCH":
            raise Refused(405, "MethodNotAllowed", f"{call.method} is not known to this fake")
        manager, kind = request.query.get("fieldManager", "unknown"), request.content_type
        force = request.query.get("force") == "true"
        applies = kind == "application/apply-patch+yaml"
        if sub == "scale":
            operation = "Apply" if applies else "Update"
            replicas = call.body["spec"]["replicas"]
            if applies and key[0] == "gangs":  # a custom resource: conflicts are found, and then
                self.store.refuse_conflicts(key, replicas, manager=manager, force=force)
                raise Refused(500, "InternalError", NOT_CONVERTED)
            return _scale(self.store.scale(key, replicas, manager=manager, operation=operation, force=force))
        if applies:
            return self.store.apply(key, call.body, manager=manager, force=force)
        is_json = kind == "application/json-patch+json"
        return self.store.patch(key, call.body, subresource=sub, manager=manager, is_json=is_json)

    async def _watch(
        self, request: web.Request, plural: str, namespace: str | None, since: int | None
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        watch = self.store.watch(plural, namespace, since)
        try:
            await _send(response, self.store.bookmark(plural))
            while (event := await watch.queue.get()) is not None:
                await _send(response, event)
        except ConnectionResetError:
            pass  # the watcher left
        finally:
            if watch in self.store.watches:
                self.store.watches.remove(watch)
        return response

    def _discovery(self, path: str) -> Object | None:
        versions = {k.api_version for k in kinds()}
        if path == "/version":
            return {"major": "1", "minor": "36"}
        if path == "/api":
            return {"versions": ["v1"]}
        if path == "/apis":
            groups = sorted(v.split("/") for v in versions if "/" in v)
            return {"groups": [_group(group, version) for group, version in groups]}
        version = path.removeprefix("/apis/").removeprefix("/api/")
        if version in versions and path.startswith(("/api/v1", "/apis/")):
            return {"resources": [r for k in kinds() if k.api_version == version for r in _resources(k)]}
        return None


@asynccontextmanager
async def serving_kube() -> AsyncIterator[FakeKube]:
    fake = FakeKube()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", _Server(fake).handle)
    app.on_response_prepare.append(_one_request_each)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        fake.address = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield fake
    finally:
        for watch in fake.store.watches:
            watch.queue.put_nowait(None)
        await runner.cleanup()


async def _one_request_each(_: web.Request, response: web.StreamResponse) -> None:
    """kopf waits at its end for tasks that it does not know, such as those of idle connections."""
    response.headers["Connection"] = "close"
    response.force_close()


async def _strike(fault: Fault) -> None:
    fault.times -= 1
    if fault.silent:
        await asyncio.Event().wait()
    raise Refused(fault.status, "Injected", "the test wants it so")


async def _send(response: web.StreamResponse, event: Object) -> None:
    await response.write(json.dumps(event).encode() + b"\n")


def _scale(item: Object) -> Object:
    meta = {k: item["metadata"][k] for k in ("name", "namespace", "uid", "resourceVersion")}
    replicas, said = item["spec"]["replicas"], item.get("status") or {}
    selector = ",".join(
        f"{k}={v}" for k, v in item["spec"].get("selector", {}).get("matchLabels", {}).items()
    )
    told = said.get("selector") or selector
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": meta,
        "spec": {"replicas": replicas} if replicas else {},  # as the real one writes a zero
        "status": {"replicas": said.get("replicas", 0), **({"selector": told} if told else {})},
    }


def _group(group: str, version: str) -> Object:
    served = {"groupVersion": f"{group}/{version}", "version": version}
    return {"name": group, "versions": [served], "preferredVersion": served}


def _resources(kind: Kind) -> list[Object]:
    verbs = ["create", "delete", "get", "list", "patch", "update", "watch"]
    namespaced = kind.plural not in ("namespaces", "customresourcedefinitions")
    head = {"kind": kind.kind, "namespaced": namespaced, "singularName": kind.kind.lower(), "verbs": verbs}
    names = (kind.plural, *(f"{kind.plural}/{sub}" for sub in kind.subresources))
    return [{"name": name, **head} for name in names]

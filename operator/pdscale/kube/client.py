"""One connection to the API server: a handful of verbs over plain dicts.

The official client brings authentication, certificates and the connection pool. Its models are left
aside: parsing thousands of pods into pydantic objects costs seconds, and what is read here are five
fields of a pod. Even so, reading lists of pods is most of what a settled operator does, so pydantic's reader
of JSON does it, in two thirds of the standard library's time. One client per process; whoever connected it
closes it.

Where several operators run, writes are fenced: before each one the fence is asked how long this process may
still write, and the write is given up when that time is over.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, Self
from urllib.parse import quote

import aiohttp
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.config import ConfigException, load_incluster_config, load_kube_config
from kubernetes.aio.config.kube_config import KUBE_CONFIG_DEFAULT_LOCATION
from pydantic_core import from_json

from pdscale.kube.errors import ApiUnavailable, Forbidden, NotLeading, from_answer
from pdscale.model.units import Seconds

FIELD_MANAGER: Final = "pdscale"
TIMEOUT: Final[Seconds] = 10.0
CONNECTIONS: Final = 48  # more than ticks use at once; each holds a quarter of a MiB for what TLS brings
APPLY: Final = "application/apply-patch+yaml"  # JSON is YAML
MERGE: Final = "application/merge-patch+json"
METADATA: Final = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"
PLURALS: Final[Mapping[tuple[str, str], str]] = {
    ("v1", "ConfigMap"): "configmaps",
    ("v1", "Pod"): "pods",
    ("v1", "ResourceQuota"): "resourcequotas",
    ("v1", "Service"): "services",
    ("v1", "ServiceAccount"): "serviceaccounts",
    ("apps/v1", "Deployment"): "deployments",
    ("apps/v1", "ReplicaSet"): "replicasets",
    ("rbac.authorization.k8s.io/v1", "RoleBinding"): "rolebindings",
}

Object = dict[str, Any]  # a Kubernetes object as the API server sends it


async def configuration(kubeconfig: str | None) -> Any:
    """The named kubeconfig; else the pod's ServiceAccount; else the user's own kubeconfig."""
    # type.__call__: the library otherwise hands out copies of a process-wide default.
    found = type.__call__(Configuration)
    try:
        if kubeconfig is None:
            try:
                load_incluster_config(client_configuration=found)  # type: ignore[no-untyped-call]
                return found
            except ConfigException:
                pass  # not in a pod
        await load_kube_config(  # type: ignore[no-untyped-call]
            config_file=kubeconfig, client_configuration=found, persist_config=False
        )
    except ConfigException as error:
        where = kubeconfig or f"no ServiceAccount in this container, and {KUBE_CONFIG_DEFAULT_LOCATION}"
        raise Forbidden(f"no usable kubeconfig ({where}): {error}") from error
    return found


Fence = Callable[[], Seconds]  # seconds in which this process may write; zero or less: not any more
Tell = Callable[[str, str], None]  # hears of each request: its verb, and its status or why there is none


class Kube:
    """The API server. Every call has a timeout, and raises ``KubeError`` and nothing else."""

    def __init__(
        self,
        client: Any,
        *,
        patience: Seconds = TIMEOUT,
        fence: Fence | None = None,
        tell: Tell = lambda verb, code: None,
    ) -> None:
        self._client = client
        self._patience = patience
        self._fence = fence
        self._tell = tell

    def fenced(self, fence: Fence) -> "Kube":
        """The same connection for writes that must stop when the fence says so."""
        return Kube(self._client, patience=self._patience, fence=fence, tell=self._tell)

    def telling(self, tell: Tell) -> "Kube":
        """The same connection, whose requests are told of."""
        return Kube(self._client, patience=self._patience, fence=self._fence, tell=tell)

    @classmethod
    async def connect(cls, kubeconfig: str | None = None, *, patience: Seconds = TIMEOUT) -> Self:
        found = await configuration(kubeconfig)
        # Like kopf: a proxy variable meant for the internet must not swallow calls inside the cluster.
        found.client_session_kwargs = {"trust_env": False}
        found.connection_pool_maxsize = CONNECTIONS
        return cls(ApiClient(found), patience=patience)

    async def close(self) -> None:
        await asyncio.shield(self._client.close())

    async def get(self, path: str) -> Object:
        return await self._call("get", "GET", path)

    async def version(self, path: str, *, selector: str) -> str:
        """The resource version of a list, from which a watch may begin."""
        query = [("labelSelector", selector), ("limit", "1")]
        answer = await self._call("list", "GET", path, query=query)
        return str(answer["metadata"]["resourceVersion"])

    async def list_items(self, path: str, *, selector: str = "") -> list[Object]:
        query = [("labelSelector", selector)] if selector else []
        answer = await self._call("list", "GET", path, query=query)
        return list(answer.get("items") or ())

    async def create(self, path: str, manifest: Mapping[str, Any]) -> Object:
        query = [("fieldManager", FIELD_MANAGER)]
        return await self._call("create", "POST", path, query=query, body=manifest)

    async def merge(self, path: str, patch: Mapping[str, Any], *, manager: str = FIELD_MANAGER) -> Object:
        query = [("fieldManager", manager)]
        return await self._call("patch", "PATCH", path, query=query, body=patch, content_type=MERGE)

    async def apply(self, path: str, manifest: Mapping[str, Any], *, force: bool) -> Object:
        """Server-side apply: with ``force`` fields are taken from other managers, without it they refuse."""
        query = [("fieldManager", FIELD_MANAGER), ("force", "true" if force else "false")]
        return await self._call("apply", "PATCH", path, query=query, body=manifest, content_type=APPLY)

    @asynccontextmanager
    async def watching(
        self, path: str, *, selector: str, since: str, silence: Seconds
    ) -> AsyncIterator[AsyncIterator[Object]]:
        """Events of metadata after the version ``since``, bookmarks among them, until the server ends it.

        What an object has beside its metadata is not sent: who needs it reads it. Raises ``ApiUnavailable``
        after ``silence`` without a word as well.
        """
        call = f"WATCH {path}"
        query = [("watch", "true"), ("allowWatchBookmarks", "true"), ("resourceVersion", since)]
        quiet = aiohttp.ClientTimeout(total=None, sock_connect=self._patience, sock_read=silence)
        try:
            request = await self._client.param_serialize(
                method="GET",
                resource_path=path,
                query_params=[*query, ("labelSelector", selector)],
                header_params={"Accept": METADATA},
                auth_settings=["BearerToken"],
            )
            response = (await self._client.call_api(*request, _request_timeout=quiet)).response
            self._tell("watch", str(response.status))
            try:
                if response.status >= 400:
                    raise from_answer(response.status, await response.read(), call)
                yield _events(response)
            finally:
                response.close()
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
            raise ApiUnavailable(f"{call}: {error}") from error

    async def _call(
        self,
        verb: str,
        method: str,
        path: str,
        *,
        query: Sequence[tuple[str, str]] = (),
        body: Mapping[str, Any] | None = None,
        content_type: str = "application/json",
    ) -> Object:
        call = f"{method} {path}"
        patience = self._patience if method == "GET" else self._write_within(call, verb)
        try:
            async with asyncio.timeout(patience):
                request = await self._client.param_serialize(
                    method=method,
                    resource_path=path,
                    query_params=list(query),
                    header_params={"Accept": "application/json", "Content-Type": content_type},
                    body=dict(body) if body is not None else None,
                    auth_settings=["BearerToken"],
                )
                total = aiohttp.ClientTimeout(total=patience)
                response = await self._client.call_api(*request, _request_timeout=total)
                answer: bytes = await response.read()
        except TimeoutError as error:
            self._tell(verb, "timeout")
            raise ApiUnavailable(f"{call}: no answer within {patience:.3g}s") from error
        except (aiohttp.ClientError, OSError) as error:
            self._tell(verb, "unreachable")
            raise ApiUnavailable(f"{call}: {error}") from error
        self._tell(verb, str(response.status))
        if response.status >= 400:
            wait = response.headers.get("Retry-After", "")
            raise from_answer(response.status, answer, call, retry_after=wait)
        found: Object = from_json(answer)
        return found

    def _write_within(self, call: str, verb: str) -> Seconds:
        if self._fence is None:
            return self._patience
        left = self._fence()
        if left <= 0:
            self._tell(verb, "not_leading")
            raise NotLeading(f"{call}: not sent, the Lease was not renewed in time")
        return min(self._patience, left)


async def _events(response: aiohttp.ClientResponse) -> AsyncIterator[Object]:
    """One a line; a line may be longer than what a reader of lines takes."""
    left = b""
    async for chunk in response.content.iter_any():
        *lines, left = (left + chunk).split(b"\n")
        for line in lines:
            yield from_json(line)


def path_of(api_version: str, kind: str, namespace: str, name: str = "") -> str:
    """Where objects of a kind live; without a name, the whole collection."""
    plural = PLURALS.get((api_version, kind))
    if plural is None:
        raise ValueError(f"kind must be one that the operator handles, got {api_version} {kind}")
    return collection(api_version, plural, namespace, name)


def collection(api_version: str, plural: str, namespace: str, name: str = "") -> str:
    root = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
    tail = f"/{quote(name, safe='')}" if name else ""
    where = f"/namespaces/{quote(namespace, safe='')}" if namespace else ""
    return f"{root}{where}/{plural}{tail}"

"""A pod's volumes as folders on the host, kept up to date, and where each container mounts them.

Files are replaced whole, so that a reader never sees half of one. Downward API files follow the pod's
labels at once; ConfigMaps, Secrets and tokens are looked at again every ``REFRESH_EVERY`` seconds.
"""

import base64
import os
import shutil
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from pdscale_e2e.nodes.client import Client, Json, Refused
from pdscale_e2e.nodes.environment import CannotConfigure, PodFacts, field_value

REFRESH_EVERY: Final = 15.0
# A token is replaced when a fifth of its life is left, as kubelets do.
_RENEW_AT: Final = 0.8

Files = dict[str, bytes]


class Volumes:
    """The volumes of one pod, under ``folder``."""

    def __init__(self, client: Client, folder: Path) -> None:
        self._client = client
        self.folder = folder
        self._token_due: dict[str, float] = {}
        self._paths: dict[str, Path] = {}

    async def prepare(self, pod: Json, facts: PodFacts) -> None:
        """Make or refresh every volume. Raises ``CannotConfigure`` for one that cannot be had."""
        for volume in pod["spec"].get("volumes") or ():
            name = volume["name"]
            if "hostPath" in volume:
                self._paths[name] = Path(volume["hostPath"]["path"])
                continue
            self._paths[name] = self.folder / name
            self._paths[name].mkdir(parents=True, exist_ok=True)
            if "emptyDir" not in volume:
                files, complete = await self._files(volume, pod, facts)
                _write(self._paths[name], files, remove_others=complete)

    def follow_labels(self, pod: Json, facts: PodFacts) -> None:
        """Only what can be had without asking anybody."""
        for volume in pod["spec"].get("volumes") or ():
            items = list((volume.get("downwardAPI") or {}).get("items") or ())
            for source in (volume.get("projected") or {}).get("sources") or ():
                items += (source.get("downwardAPI") or {}).get("items") or ()
            path = self._paths.get(volume["name"])
            if items and path is not None:
                _write(path, _downward(items, pod, facts), remove_others=False)

    def mounts_of(self, container: Json) -> list[tuple[str, str]]:
        mounts = []
        for mount in container.get("volumeMounts") or ():
            source = self._paths[mount["name"]] / mount.get("subPath", "")
            if not source.exists():
                source.mkdir(parents=True)
            mounts.append((str(source), mount["mountPath"]))
        return mounts

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    async def _files(self, volume: Json, pod: Json, facts: PodFacts) -> tuple[Files, bool]:
        """The files of a volume, and whether these are all (a token that is not due is left out)."""
        if "projected" not in volume:
            kind = next(key for key in volume if key != "name")
            return await self._source(kind, volume[kind], pod, facts), True
        files: Files = {}
        complete = True
        for source in volume["projected"].get("sources") or ():
            for kind, entry in source.items():
                key = f"{volume['name']}/{entry.get('path', '')}"
                if kind == "serviceAccountToken" and time.monotonic() < self._token_due.get(key, 0):
                    complete = False
                    continue
                files |= await self._source(kind, entry, pod, facts, key=key)
        return files, complete

    async def _source(self, kind: str, entry: Json, pod: Json, facts: PodFacts, *, key: str = "") -> Files:
        if kind == "downwardAPI":
            return _downward(entry.get("items") or (), pod, facts)
        if kind == "serviceAccountToken":
            return {entry["path"]: await self._token(entry, pod, key)}
        if kind in ("configMap", "secret"):
            name = entry.get("name") or entry.get("secretName")
            plural = f"{kind.lower()}s"
            found = await fetch(self._client, pod["metadata"]["namespace"], plural, str(name))
            if found is None and not entry.get("optional"):
                raise CannotConfigure(f"{plural} {name!r} not found")
            return _chosen(found or {}, entry.get("items"), str(name))
        raise CannotConfigure(f"volumes of kind {kind} are not supported by the node agent")

    async def _token(self, entry: Json, pod: Json, key: str) -> bytes:
        metadata = pod["metadata"]
        account = pod["spec"].get("serviceAccountName") or "default"
        seconds = entry.get("expirationSeconds", 3600)
        spec: Json = {
            "expirationSeconds": seconds,
            "boundObjectRef": {
                "apiVersion": "v1",
                "kind": "Pod",
                "name": metadata["name"],
                "uid": metadata["uid"],
            },
        }
        if audience := entry.get("audience"):
            spec["audiences"] = [audience]
        path = f"/api/v1/namespaces/{metadata['namespace']}/serviceaccounts/{account}/token"
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        try:
            answer = await self._client.create(path, body)
        except Refused as error:
            raise CannotConfigure(f"no token for ServiceAccount {account!r}: {error}") from error
        self._token_due[key] = time.monotonic() + _RENEW_AT * seconds
        return str(answer["status"]["token"]).encode()


async def fetch(client: Client, namespace: str, kind: str, name: str) -> dict[str, bytes] | None:
    """The entries of a ConfigMap or Secret, or ``None`` where there is none."""
    try:
        item = await client.get(f"/api/v1/namespaces/{namespace}/{kind}/{name}")
    except Refused as error:
        if error.status == 404:
            return None
        raise CannotConfigure(str(error)) from error
    plain = item.get("data") or {}
    if kind == "secrets":
        return {key: base64.b64decode(value) for key, value in plain.items()}
    binary = item.get("binaryData") or {}
    return {
        **{key: value.encode() for key, value in plain.items()},
        **{key: base64.b64decode(value) for key, value in binary.items()},
    }


def _chosen(found: Mapping[str, bytes], items: Iterable[Json] | None, name: str) -> Files:
    if items is None:
        return dict(found)
    chosen = {}
    for item in items:
        if item["key"] not in found:
            raise CannotConfigure(f"{name!r} has no key {item['key']!r}")
        chosen[item["path"]] = found[item["key"]]
    return chosen


def _downward(items: Iterable[Json], pod: Json, facts: PodFacts) -> Files:
    files = {}
    for item in items:
        if "fieldRef" not in item:
            raise CannotConfigure(f"downwardAPI {item['path']}: only fieldRef is supported")
        files[item["path"]] = field_value(item["fieldRef"]["fieldPath"], pod, facts).encode()
    return files


def _write(folder: Path, files: Files, *, remove_others: bool) -> None:
    for name, content in files.items():
        path = folder / name
        if path.exists() and path.read_bytes() == content:
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.new")
        fresh.write_bytes(content)
        os.replace(fresh, path)
    if remove_others:
        wanted = {folder / name for name in files}
        for path in [p for p in folder.rglob("*") if p.is_file() and p not in wanted]:
            path.unlink()

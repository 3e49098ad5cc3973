"""The objects of a fake API server: versions, watches, subresources, garbage collection."""

import asyncio
import copy
import itertools
import uuid
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from typing import Any

from fakes.kube_fields import Object, Ownership, Path, Refused, at, conflict, json_patch, merge_patch, pruned

Key = tuple[str, str, str]  # plural, namespace, name
CREATED = "2026-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class Kind:
    api_version: str
    kind: str
    plural: str
    subresources: tuple[str, ...] = ()
    schema: Mapping[str, Any] | None = None  # of a custom resource


@dataclass(slots=True)
class Watch:
    plural: str
    namespace: str | None
    queue: "asyncio.Queue[Object | None]" = field(default_factory=asyncio.Queue)

    def sees(self, plural: str, item: Object) -> bool:
        return plural == self.plural and self.namespace in (None, item["metadata"]["namespace"])


class Store:
    """All objects. Every effective write has a new resource version; one that changes nothing has none."""

    def __init__(self, kinds: Iterable[Kind]) -> None:
        self.kinds = {k.plural: k for k in kinds}
        self.objects: dict[Key, Object] = {}
        self.owners: dict[Key, Ownership] = {}
        self.watches: list[Watch] = []
        self.terminating: set[str] = set()
        self.history: list[tuple[int, str, str, Object]] = []
        self.oldest = 0
        self._versions = itertools.count(1)
        self.version = 0

    def get(self, key: Key) -> Object:
        if key not in self.objects:
            raise Refused(404, "NotFound", f'{key[0]} "{key[2]}" not found')
        return copy.deepcopy(self.objects[key])

    def select(self, plural: str, namespace: str | None, selector: str) -> list[Object]:
        wanted = dict(part.split("=", 1) for part in selector.split(",") if "=" in part)
        there = {part for part in selector.split(",") if part} - {f"{k}={v}" for k, v in wanted.items()}
        found = [
            o for (p, ns, _), o in sorted(self.objects.items()) if p == plural and namespace in (None, ns)
        ]
        return [copy.deepcopy(o) for o in found if _chosen(_labels(o), wanted, there)]

    def create(self, plural: str, namespace: str, given: Object, manager: str = "test") -> Object:
        kind = self.kinds[plural]
        item = {"apiVersion": kind.api_version, "kind": kind.kind, **copy.deepcopy(given)}
        meta = item.setdefault("metadata", {})
        meta.setdefault("namespace", namespace)
        meta.setdefault("name", f"{meta.get('generateName', '')}{uuid.uuid4().hex[:5]}")
        key = (plural, namespace, meta["name"])
        if key in self.objects:
            raise Refused(409, "AlreadyExists", f'{plural} "{meta["name"]}" already exists')
        if "status" in kind.subresources:
            item.pop("status", None)
        self.owners[key] = Ownership()
        self.owners[key].updated((manager, "Update", ""), {}, item)
        return self._insert(key, item)

    def apply(self, key: Key, config: Object, *, manager: str, force: bool) -> Object:
        plural, namespace, name = key
        fresh = key not in self.objects
        kind = self.kinds[plural]
        if config.get("apiVersion") != kind.api_version or config.get("kind") != kind.kind:
            raise Refused(
                400, "BadRequest", f"{config.get('apiVersion')}/{config.get('kind')} is not {plural}"
            )
        if config["metadata"]["name"] != name:
            raise Refused(400, "BadRequest", "the name of the object does not match the name on the URL")
        identity = {"name": name, "namespace": namespace}
        bare = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": identity}
        live = bare if fresh else self.get(key)
        owners = self.owners.setdefault(key, Ownership())
        found = owners.apply((manager, "Apply", ""), live, config, force=force)
        return self._insert(key, found) if fresh else self._replace(key, found)

    def patch(self, key: Key, patch: Any, *, subresource: str, manager: str, is_json: bool) -> Object:
        live = self.get(key)
        found = json_patch(live, patch) if is_json else merge_patch(live, patch)
        if found["metadata"].get("resourceVersion") != live["metadata"]["resourceVersion"]:
            raise Refused(409, "Conflict", f"the object {key[2]} has been modified; apply your changes to it")
        if subresource == "status":
            found = {**live, "status": found.get("status", {})}
        elif "status" in self.kinds[key[0]].subresources:
            found = {k: v for k, v in found.items() if k != "status"}
            found |= {"status": live["status"]} if "status" in live else {}
        self.owners[key].updated((manager, "Update", subresource), live, found)
        if not is_json and "managedFields" in patch.get("metadata", {}):
            self.owners[key].declared(patch["metadata"]["managedFields"])
        return self._replace(key, found)

    def scale(self, key: Key, replicas: int, *, manager: str, operation: str, force: bool = False) -> Object:
        live = self.get(key)
        owner = (manager, operation, "scale")
        if operation == "Apply":
            path = ("spec", "replicas")
            owned = any(path in paths for paths in self.owners[key].owned.values())
            if not owned and not force and at(live, path) != replicas:
                raise conflict([(("before-first-apply", "Update", "scale"), path)], using="autoscaling/v1")
            config = {"apiVersion": "autoscaling/v1", "spec": {"replicas": replicas}}
            found = self.owners[key].apply(owner, live, config, force=force)
            found["apiVersion"] = live["apiVersion"]
        else:
            found = merge_patch(live, {"spec": {"replicas": replicas}})
            self.owners[key].updated(owner, live, found)
        return self._replace(key, found)

    def refuse_conflicts(self, key: Key, replicas: int, *, manager: str, force: bool) -> None:
        """What an apply to the scale looks at first, without writing anything."""
        path: Path = ("spec", "replicas")
        others = [o for o, paths in self.owners[key].owned.items() if path in paths]
        unclaimed = [("before-first-apply", "Update", "scale")] if not others else []
        found = [(o, path) for o in (*others, *unclaimed) if o != (manager, "Apply", "scale")]
        if found and not force and at(self.get(key), path) != replicas:
            raise conflict(found, using="autoscaling/v1")

    def delete(self, key: Key) -> Object:
        item = self.get(key)
        if item["metadata"].get("finalizers"):
            item["metadata"].setdefault("deletionTimestamp", CREATED)
            return self._replace(key, item)
        return self._remove(key)

    def expire(self) -> None:
        """Forget the past: running watches end with 410, and so does one that starts from before."""
        self.history.clear()
        self.oldest = self.version
        gone = Refused(410, "Expired", "too old resource version").body
        self.end_watches({"type": "ERROR", "object": gone})

    def end_watches(self, *last: Object) -> None:
        """Close what is watched now, after these words."""
        for watch in self.watches:
            for event in (*last, None):
                watch.queue.put_nowait(event)

    def watch(self, plural: str, namespace: str | None, since: int | None) -> Watch:
        """Without a version to start from, it begins with everything that there is."""
        watch = Watch(plural, namespace)
        if since is None:
            for (kind, _, _), item in self.objects.items():
                if watch.sees(kind, item):
                    watch.queue.put_nowait({"type": "ADDED", "object": copy.deepcopy(item)})
            self.watches.append(watch)
            return watch
        if since < self.oldest:
            gone = Refused(410, "Expired", "too old resource version").body
            watch.queue.put_nowait({"type": "ERROR", "object": gone})
            watch.queue.put_nowait(None)
            return watch
        for version, what, which, item in self.history:
            if version > since and watch.sees(which, item):
                watch.queue.put_nowait({"type": what, "object": copy.deepcopy(item)})
        self.watches.append(watch)
        return watch

    def bookmark(self, plural: str) -> Object:
        kind = self.kinds[plural]
        meta = {"resourceVersion": str(self.version)}
        item = {"kind": kind.kind, "apiVersion": kind.api_version, "metadata": meta}
        return {"type": "BOOKMARK", "object": item}

    def _insert(self, key: Key, item: Object) -> Object:
        if key[1] in self.terminating:
            text = f'{key[0]} "{key[2]}" is forbidden: unable to create new content in namespace {key[1]}'
            cause = {"reason": "NamespaceTerminating", "field": "metadata.namespace"}
            raise Refused(403, "Forbidden", f"{text} because it is being terminated", [cause])
        uid = str(uuid.uuid4())
        item["metadata"] |= {"uid": uid, "creationTimestamp": CREATED, "generation": 1}
        return self._store(key, item, "ADDED")

    def _replace(self, key: Key, item: Object) -> Object:
        old = self.objects[key]
        if item["metadata"].get("deletionTimestamp") and not item["metadata"].get("finalizers"):
            return self._remove(key)
        item = self._completed(key, item)
        if item == old:
            return copy.deepcopy(old)
        if item.get("spec") != old.get("spec"):
            item["metadata"]["generation"] = old["metadata"]["generation"] + 1
        return self._store(key, item, "MODIFIED")

    def _store(self, key: Key, item: Object, what: str) -> Object:
        item = self._completed(key, item)
        self.version = next(self._versions)
        item["metadata"]["resourceVersion"] = str(self.version)
        self.objects[key] = item
        self._announce(key[0], what, item)
        return copy.deepcopy(item)

    def _completed(self, key: Key, item: Object) -> Object:
        """Defaults, pruning and managedFields: what a server adds to what it was given."""
        kind = self.kinds[key[0]]
        item = copy.deepcopy(item)
        if kind.schema is not None:
            known = {k: v for k, v in item.items() if k in ("apiVersion", "kind", "metadata")}
            item = pruned({k: v for k, v in item.items() if k not in known}, kind.schema) | known
        if kind.kind == "Deployment" and at(item, ("spec", "replicas")) is None:
            item.setdefault("spec", {})["replicas"] = 1
        item["metadata"]["managedFields"] = self.owners[key].entries()
        return item

    def _remove(self, key: Key) -> Object:
        item = self.objects.pop(key)
        self.owners.pop(key)
        self.version = next(self._versions)
        item["metadata"]["resourceVersion"] = str(self.version)
        self._announce(key[0], "DELETED", item)
        uid = item["metadata"]["uid"]
        orphans = [k for k, o in self.objects.items() if uid in _owner_uids(o)]
        for orphan in orphans:
            if orphan in self.objects:
                self.delete(orphan)
        return item

    def _announce(self, plural: str, what: str, item: Object) -> None:
        self.history.append((self.version, what, plural, copy.deepcopy(item)))
        for watch in self.watches:
            if watch.sees(plural, item):
                watch.queue.put_nowait({"type": what, "object": copy.deepcopy(item)})


def _chosen(labels: Mapping[str, str], wanted: Mapping[str, str], there: Set[str]) -> bool:
    return wanted.items() <= labels.items() and there <= labels.keys()


def _labels(item: Object) -> dict[str, str]:
    return item["metadata"].get("labels") or {}


def _owner_uids(item: Object) -> set[str]:
    return {o.get("uid", "") for o in item["metadata"].get("ownerReferences") or ()}

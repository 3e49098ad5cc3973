"""What an API server does with the fields of an object: patches, ownership, pruning and defaults.

Lists count as one field each: nothing here has two owners inside one list.
"""

import copy
from collections.abc import Iterator, Mapping
from typing import Any

Object = dict[str, Any]
Path = tuple[str, ...]
Owner = tuple[str, str, str]  # manager, operation, subresource

UNOWNED = {("apiVersion",), ("kind",), ("metadata", "name"), ("metadata", "namespace")}


class Refused(Exception):
    """An answer that is not a success."""

    def __init__(self, status: int, reason: str, message: str, causes: list[Object] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body = {
            "kind": "Status",
            "apiVersion": "v1",
            "status": "Failure",
            "message": message,
            "reason": reason,
            "details": {"causes": causes or []},
            "code": status,
        }


def merge_patch(target: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    found = copy.deepcopy(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            found.pop(key, None)
        else:
            found[key] = merge_patch(found.get(key), value)
    return found


def json_patch(target: Object, operations: list[Object]) -> Object:
    """RFC 6902, without move and copy."""
    found = copy.deepcopy(target)
    for operation in operations:
        *way, last = [p.replace("~1", "/").replace("~0", "~") for p in operation["path"].split("/")[1:]]
        place: Any = found
        for step in way:
            place = place[int(step)] if isinstance(place, list) else place[step]
        _operate(place, last, operation)
    return found


def _operate(place: Any, last: str, operation: Object) -> None:
    key: Any = (len(place) if last == "-" else int(last)) if isinstance(place, list) else last
    match operation["op"]:
        case "test":
            if place[key] != operation["value"]:
                raise Refused(422, "Invalid", f"test of {operation['path']} failed")
        case "remove":
            del place[key]
        case "add" if isinstance(place, list):
            place.insert(key, operation["value"])
        case "add" | "replace":
            place[key] = operation["value"]
        case other:
            raise Refused(400, "BadRequest", f"unknown operation {other}")


def leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from leaves(inner, (*path, key))
    elif path:
        yield path, value


def at(value: Any, path: Path) -> Any:
    for step in path:
        if not isinstance(value, dict) or step not in value:
            return None
        value = value[step]
    return value


def put(value: Object, path: Path, leaf: Any) -> None:
    for step in path[:-1]:
        value = value.setdefault(step, {})
    value[path[-1]] = copy.deepcopy(leaf)


def drop(value: Object, path: Path) -> None:
    for step in path[:-1]:
        value = value.get(step, {})
    value.pop(path[-1], None)


class Ownership:
    """Who owns which field of one object, as ``managedFields`` tells it."""

    def __init__(self) -> None:
        self.owned: dict[Owner, set[Path]] = {}

    def updated(self, owner: Owner, before: Object, after: Object) -> None:
        """A plain write owns what it changed, and takes it from all others."""
        old, new = dict(leaves(before)), dict(leaves(after))
        changed = {p for p, v in new.items() if old.get(p) != v and p[0] != "status"} - UNOWNED
        for paths in self.owned.values():
            paths -= changed | (old.keys() - new.keys())
        self.owned.setdefault(owner, set()).update(changed)

    def apply(self, owner: Owner, live: Object, config: Object, *, force: bool) -> Object:
        wanted = {p: v for p, v in leaves(config) if p not in UNOWNED}
        conflicts = [
            (other, path)
            for other, paths in sorted(self.owned.items())
            for path in sorted(paths & wanted.keys())
            if other != owner and at(live, path) != wanted[path]
        ]
        if conflicts and not force:
            raise conflict(conflicts, using=config.get("apiVersion", "apps/v1"))
        for other, path in conflicts:
            self.owned[other].discard(path)
        found = copy.deepcopy(live)
        for path, value in wanted.items():
            put(found, path, value)
        for path in self.owned.get(owner, set()) - wanted.keys():
            if not any(path in paths for other, paths in self.owned.items() if other != owner):
                drop(found, path)
        self.owned[owner] = set(wanted)
        return found

    def declared(self, entries: list[Object]) -> None:
        """Whoever writes ``managedFields`` says who owns what from now on."""
        self.owned = {
            (e["manager"], e["operation"], e.get("subresource", "")): set(_paths(e["fieldsV1"]))
            for e in entries
        }

    def entries(self) -> list[Object]:
        return [
            {
                "manager": manager,
                "operation": operation,
                **({"subresource": subresource} if subresource else {}),
                "fieldsType": "FieldsV1",
                "fieldsV1": _fields(paths),
            }
            for (manager, operation, subresource), paths in sorted(self.owned.items())
            if paths
        ]


def conflict(conflicts: list[tuple[Owner, Path]], *, using: str) -> Refused:
    causes = []
    for (manager, _, subresource), path in conflicts:
        through = f' with subresource "{subresource}"' if subresource else ""
        causes.append(
            {
                "reason": "FieldManagerConflict",
                "message": f'conflict with "{manager}"{through} using {using}',
                "field": "." + ".".join(path),
            }
        )
    text = f"Apply failed with {len(causes)} conflict(s): {causes[0]['message']}: {causes[0]['field']}"
    return Refused(409, "Conflict", text, causes)


def _fields(paths: set[Path]) -> Object:
    found: Object = {}
    for path in sorted(paths):
        place = found
        for step in path:
            place = place.setdefault(f"f:{step}", {})
    return found


def _paths(fields: Object, path: Path = ()) -> Iterator[Path]:
    for name, inner in fields.items():
        here = (*path, name.removeprefix("f:"))
        yield from _paths(inner, here) if inner else (here,)


def pruned(value: Any, schema: Mapping[str, Any]) -> Any:
    """Without what a structural schema does not know, and with its defaults."""
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        return value
    if isinstance(value, list) and "items" in schema:
        return [pruned(v, schema["items"]) for v in value]
    if not isinstance(value, dict):
        return value
    if "additionalProperties" in schema:
        inner = schema["additionalProperties"]
        return {k: pruned(v, inner) for k, v in value.items()} if isinstance(inner, dict) else value
    properties = schema.get("properties", {})
    found = {k: pruned(v, properties[k]) for k, v in value.items() if k in properties}
    for key, inner in properties.items():
        if key not in found and "default" in inner:
            found[key] = pruned(copy.deepcopy(inner["default"]), inner)
    return found

"""Lays a user's piece of a pod over ours, by the rules that ``kubectl`` users know.

Objects merge key by key and null removes. Lists whose items have a name are matched by it, tolerations
add up, every other list replaces ours.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pdscale.api.translate import InvalidSpec

_KEYS: Final[Mapping[str, str]] = {
    "containers": "name",
    "initContainers": "name",
    "volumes": "name",
    "env": "name",
    "imagePullSecrets": "name",
    "ports": "containerPort",
    "volumeMounts": "mountPath",
    "hostAliases": "ip",
    "topologySpreadConstraints": "topologyKey",
}
_ADDED: Final = ("tolerations", "schedulingGates", "envFrom")


def merge_pod_spec(ours: Mapping[str, Any], theirs: Mapping[str, Any], *, where: str) -> dict[str, Any]:
    """The pod's spec with the user's part on top."""
    return _object(ours, theirs, where)


def merge_labels(ours: Mapping[str, str], theirs: Mapping[str, str], *, where: str) -> dict[str, str]:
    """Selectors and the routers' discovery rely on our labels, so they cannot be replaced."""
    taken = sorted(set(ours) & set(theirs))
    if taken:
        raise InvalidSpec(
            f"{where}.metadata.labels must not set {taken[0]}, which the operator sets, "
            f"got {theirs[taken[0]]}"
        )
    return {**theirs, **ours}


def _object(ours: Mapping[str, Any], theirs: Mapping[str, Any], where: str) -> dict[str, Any]:
    out = dict(ours)
    for key, value in theirs.items():
        path = f"{where}.{key}"
        if value is None:
            out.pop(key, None)
        elif key in _ADDED:
            out[key] = [*out.get(key, []), *_sequence(value, path)]
        elif key in _KEYS and key in out:
            out[key] = _by_key(out[key], _sequence(value, path), _KEYS[key], path)
        elif isinstance(value, Mapping) and isinstance(out.get(key), Mapping):
            out[key] = _object(out[key], value, path)
        else:
            out[key] = value
    return out


def _by_key(
    ours: Sequence[Mapping[str, Any]], theirs: Sequence[Any], key: str, where: str
) -> list[Mapping[str, Any]]:
    out = {item[key]: item for item in ours}
    for i, item in enumerate(theirs):
        if not isinstance(item, Mapping) or key not in item:
            raise InvalidSpec(f"{where}[{i}].{key} is required, got {item!r}")
        name = item[key]
        out[name] = _object(out[name], item, f"{where}[{i}]") if name in out else dict(item)
    return list(out.values())


def _sequence(value: object, where: str) -> Sequence[Any]:
    if not isinstance(value, list):
        raise InvalidSpec(f"{where} must be a list, got {value!r}")
    return value

"""From a pydantic model to the structural schema that the API server accepts.

pydantic speaks JSON Schema, the API server only a part of it. What has an equal there is rewritten;
whatever has none is refused with the field's name, because the API server would refuse the whole CRD, or
worse, drop the field in silence.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel

from pdscale.api.fields import VALIDATIONS

Schema = dict[str, Any]

PRESERVE: Final = "x-kubernetes-preserve-unknown-fields"
_KEPT: Final = {
    *("description", "default", "enum", "format", "maximum", "maxItems", "maxLength", "minimum"),
    *("minItems", "minLength", "multipleOf", "pattern", "type"),
}
_ELSEWHERE: Final = {"title", "$defs", "required", "properties", "items"}
_TYPES: Final = {"array", "boolean", "integer", "number", "object", "string"}
_FORMATS: Final = {"date-time", "int32", "int64"}


class NotStructural(ValueError):
    """A model says something that a structural schema cannot."""


def structural(model: type[BaseModel], path: str | None = None) -> Schema:
    """The structural schema of a model, with references inlined."""
    found = model.model_json_schema(by_alias=True)
    return _Walk(found.get("$defs", {})).node(found, path or model.__name__, ())


def without_defaults(schema: Schema) -> Schema:
    """The same schema for a status, which only the operator writes: nothing may appear by itself."""
    out = {k: v for k, v in schema.items() if k != "default"}
    if "properties" in out:
        out["properties"] = {k: without_defaults(v) for k, v in out["properties"].items()}
    if "items" in out:
        out["items"] = without_defaults(out["items"])
    return out


@dataclass(frozen=True, slots=True)
class _Walk:
    """One pass over a model's schema. ``inside`` names the models that enclose a node."""

    defs: Mapping[str, Schema]

    def node(self, given: Schema, path: str, inside: tuple[str, ...]) -> Schema:
        node, inside = self._resolved(_without_null(given, path), path, inside)
        out: Schema = {}
        for key, value in node.items():
            if key not in _ELSEWHERE:
                out |= self._keyword(key, value, path, inside)
        _judge(out, path)
        out = {key: out[key] for key in sorted(out, key=_reading_order)}
        if out.get("default") in ([], {}):  # absent says the same
            del out["default"]
        if "items" in node:
            out["items"] = self.node(node["items"], f"{path}[]", inside)
        if "properties" in node:
            out |= self._properties(node, path, inside)
        return out

    def _properties(self, node: Schema, path: str, inside: tuple[str, ...]) -> Schema:
        required = node.get("required", [])
        children: dict[str, Schema] = {}
        for name, given in node["properties"].items():
            child = self.node(given, f"{path}.{name}", inside)
            optional = name not in required and "anyOf" not in given
            if optional and _defaults(child):
                child = _defaulted(child, f"{path}.{name}")
            children[name] = child
        return {"properties": children} | ({"required": required} if required else {})

    def _keyword(self, key: str, value: Any, path: str, inside: tuple[str, ...]) -> Schema:
        if key in _KEPT or key.startswith("x-kubernetes-"):
            return {key: value}
        if key == "const":
            return {"enum": [value]}
        if key in ("exclusiveMinimum", "exclusiveMaximum"):
            return {key.removeprefix("exclusive").lower(): value, key: True}
        if key == "uniqueItems":
            return {"x-kubernetes-list-type": "set"} if value else {}
        if key == "additionalProperties":
            if isinstance(value, dict):
                return {key: self.node(value, f"{path}.*", inside)}
            # `false` is forbidden beside properties, and pruning does the same.
            return {PRESERVE: True} if value else {}
        raise NotStructural(f"{path}: a structural schema has no {key}")

    def _resolved(self, node: Schema, path: str, inside: tuple[str, ...]) -> tuple[Schema, tuple[str, ...]]:
        if "$ref" not in node:
            return node, inside
        name = str(node["$ref"]).removeprefix("#/$defs/")
        if name in inside:
            raise NotStructural(f"{path}: a structural schema cannot hold {name} within itself")
        beside = {k: v for k, v in node.items() if k != "$ref"}
        return {**self.defs[name], **beside}, (*inside, name)


def _without_null(node: Schema, path: str) -> Schema:
    """Optional means absent: ``X | None`` is an X that is not required."""
    if "anyOf" not in node:
        return node
    real = [choice for choice in node["anyOf"] if choice != {"type": "null"}]
    if len(real) != 1:
        raise NotStructural(f"{path}: a structural schema has no unions, got {real}")
    beside = {k: v for k, v in node.items() if k not in ("anyOf", "default")}
    return {**real[0], **beside}


def _reading_order(keyword: str) -> tuple[int, str]:
    """What it is for, what it is, then the rest."""
    first = ("description", "type", "default")
    return (first.index(keyword) if keyword in first else len(first), keyword)


def _defaulted(child: Schema, path: str) -> Schema:
    """Defaulting enters a sub-object only if it is present, so an absent one becomes ``{}``."""
    if VALIDATIONS in child:
        raise NotStructural(
            f"{path}: its rules would see the default {{}} before it is filled; state them one level up"
        )
    return child | {"default": {}}


def _defaults(schema: Schema) -> bool:
    """Whether an empty object of this schema is valid and gets something from defaulting."""
    children = schema.get("properties", {}).values()
    return not schema.get("required") and any("default" in child for child in children)


def _judge(out: Schema, path: str) -> None:
    if out.get("type") not in _TYPES:
        raise NotStructural(f"{path}: exactly one type is needed, got {out.get('type')}")
    if out.get("format", "int32") not in _FORMATS:
        raise NotStructural(f"{path}: format {out['format']} is not how Kubernetes writes it")

"""A container's environment: what its spec says, resolved, and little else.

Pods get none of the agent's own environment but what a program needs to be found and to run
(``INHERITED``): a test must not pass because of a variable that no real pod would see. ``python`` is the
agent's own, so that a pod's command finds what is installed beside it.
"""

import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from pdscale_e2e.nodes.client import Json

INHERITED: Final = ("PATH", "HOME", "LANG", "LC_ALL", "VIRTUAL_ENV", "PYTHONPATH")
_REFERENCE: Final = re.compile(r"\$\$|\$\(([^()\s]+)\)")
_SUBSCRIPT: Final = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")


class CannotConfigure(Exception):
    """Something that the container refers to is missing or not supported; may come later."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A ConfigMap or Secret that a container takes variables from."""

    kind: str
    name: str
    optional: bool


@dataclass(frozen=True, slots=True)
class PodFacts:
    """What downward references may ask for that the spec does not say."""

    address: str
    host: str


def inherited(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    variables = {name: environ[name] for name in INHERITED if name in environ}
    own = os.path.dirname(sys.executable)
    return {**variables, "PATH": os.pathsep.join((own, variables.get("PATH", os.defpath)))}


def expand(text: str, variables: Mapping[str, str]) -> str:
    """``$(NAME)`` becomes its value, ``$$`` a dollar; unknown names stay as they are."""

    def value(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        return variables.get(match[1], match[0])

    return _REFERENCE.sub(value, text)


def field_value(path: str, pod: Json, facts: PodFacts) -> str:
    """What a ``fieldRef`` stands for."""
    metadata, spec = pod["metadata"], pod["spec"]
    if match := _SUBSCRIPT.fullmatch(path):
        return str((metadata.get(match[1]) or {}).get(match[2], ""))
    simple = {
        "metadata.name": metadata["name"],
        "metadata.namespace": metadata["namespace"],
        "metadata.uid": metadata["uid"],
        "spec.nodeName": spec.get("nodeName", ""),
        "spec.serviceAccountName": spec.get("serviceAccountName", "default"),
        "status.podIP": facts.address,
        "status.podIPs": facts.address,
        "status.hostIP": facts.host,
        "status.hostIPs": facts.host,
    }
    if path in simple:
        return str(simple[path])
    if path in ("metadata.labels", "metadata.annotations"):
        entries = metadata.get(path.partition(".")[2]) or {}
        return "\n".join(f'{key}="{value}"' for key, value in sorted(entries.items()))
    raise CannotConfigure(f"fieldPath {path!r} is not supported by the node agent")


def references(container: Json) -> Iterator[Reference]:
    for source in container.get("envFrom") or ():
        for key, kind in (("configMapRef", "configmaps"), ("secretRef", "secrets")):
            if key in source:
                yield _reference(kind, source[key])
    for variable in container.get("env") or ():
        origin = variable.get("valueFrom") or {}
        for key, kind in (("configMapKeyRef", "configmaps"), ("secretKeyRef", "secrets")):
            if key in origin:
                yield _reference(kind, origin[key])


def _reference(kind: str, entry: Json) -> Reference:
    return Reference(kind, entry["name"], bool(entry.get("optional", False)))


def build(
    container: Json,
    pod: Json,
    facts: PodFacts,
    *,
    found: Mapping[tuple[str, str], Mapping[str, str]],
    base: Mapping[str, str],
) -> dict[str, str]:
    """All variables; ``found`` holds the entries of each ConfigMap and Secret by kind and name."""
    variables = dict(base)
    for source in container.get("envFrom") or ():
        prefix = source.get("prefix", "")
        for key, kind in (("configMapRef", "configmaps"), ("secretRef", "secrets")):
            if key in source:
                entries = found.get((kind, source[key]["name"]), {})
                variables |= {prefix + name: value for name, value in entries.items()}
    for variable in container.get("env") or ():
        value = _value(variable, pod, facts, found=found, variables=variables)
        if value is not None:
            variables[variable["name"]] = value
    return variables


def _value(
    variable: Json,
    pod: Json,
    facts: PodFacts,
    *,
    found: Mapping[tuple[str, str], Mapping[str, str]],
    variables: Mapping[str, str],
) -> str | None:
    origin = variable.get("valueFrom")
    if origin is None:
        return expand(variable.get("value", ""), variables)
    if "fieldRef" in origin:
        return field_value(origin["fieldRef"]["fieldPath"], pod, facts)
    for key, kind in (("configMapKeyRef", "configmaps"), ("secretKeyRef", "secrets")):
        if key in origin:
            wanted = origin[key]
            entries = found.get((kind, wanted["name"]), {})
            if wanted["key"] in entries:
                return entries[wanted["key"]]
            if wanted.get("optional"):
                return None
            raise CannotConfigure(f"{kind} {wanted['name']!r} has no key {wanted['key']!r}")
    raise CannotConfigure(f"env {variable['name']}: {', '.join(origin)} is not supported")


def command_line(container: Json, variables: Mapping[str, str]) -> list[str]:
    """``command`` and ``args``; there is no image that could bring a command of its own."""
    words: Iterable[str] = [*(container.get("command") or ()), *(container.get("args") or ())]
    return [expand(word, variables) for word in words]

"""Answers reduced to what a client or a router can depend on, so that two engines' can be compared.

A shape says of an answer: its status, the headers that mean something, and for its body, or for each distinct
kind of event in order, the set of key paths with the types of their values. Texts, tokens, names and times
differ between any two engines and are left out; so is how often an event of one kind follows another.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pdscale_e2e.engines.figures import Figures

_TELLING: Final = ("content-type", "transfer-encoding")
_ERROR_FIELDS: Final = ("type", "param", "code")  # compared by value: a router reads them
_UNFINISHED: Final = "choices[].finish_reason: null"
_FIRST: Final = "choices[].delta.role: str"

Paths = frozenset[str]


@dataclass(frozen=True, slots=True)
class Shape:
    """One answer. ``events`` is one set of paths for a body, or those of a stream without repetitions."""

    status: int
    headers: tuple[str, ...]
    events: tuple[Paths, ...]
    error: tuple[str, ...] = ()
    done: bool = False


def shape_of(status: int, headers: Mapping[str, str], text: str, events: tuple[dict[str, Any], ...]) -> Shape:
    low = {name.lower(): value for name, value in headers.items()}
    told = tuple(f"{name}: {low[name]}" for name in _TELLING if name in low)
    distinct: list[Paths] = []
    for event in events:
        found = frozenset(paths_of(event))
        if not distinct or distinct[-1] != found:
            distinct.append(found)
    errors = tuple(
        f"{name}={event['error'].get(name)}"
        for event in events
        if isinstance(event.get("error"), dict)
        for name in _ERROR_FIELDS
    )
    return Shape(status, told, tuple(distinct), errors, text.rstrip().endswith("data: [DONE]"))


def paths_of(thing: object, path: str = "") -> Iterator[str]:
    """``choices[].delta.content: str`` and so on; an empty list or object is a value of its own."""
    if isinstance(thing, dict) and thing:
        for name, value in thing.items():
            yield from paths_of(value, f"{path}.{name}" if path else name)
    elif isinstance(thing, list) and thing:
        for value in thing:
            yield from paths_of(value, f"{path}[]")
    else:
        yield f"{path}: {_kind(thing)}"


def _kind(thing: object) -> str:
    if thing is None or isinstance(thing, dict | list):
        return {type(None): "null", dict: "{}", list: "[]"}[type(thing)]
    return type(thing).__name__


def differences(real: Shape, emulated: Shape) -> Iterator[str]:
    """One line each, ``+`` for what only the real engine has, ``-`` for what only the emulated one has."""
    if real.status != emulated.status:
        yield f"status {real.status} not {emulated.status}"
    for sign, one, other in (("+", real, emulated), ("-", emulated, real)):
        for header in one.headers:
            if header not in other.headers:
                yield f"{sign} header {header}"
        for field in one.error:
            if field not in other.error:
                yield f"{sign} error {field}"
    if real.done != emulated.done:
        yield f"[DONE] {real.done} not {emulated.done}"
    kinds = _as_merged(emulated.events, into=len(real.events))
    if len(real.events) != len(kinds):
        yield f"{len(real.events)} kinds of events not {len(kinds)}"
    for number, (theirs, ours) in enumerate(zip(real.events, kinds, strict=False)):
        yield from (f"{number}: + {path}" for path in sorted(theirs - ours))
        yield from (f"{number}: - {path}" for path in sorted(ours - theirs))


def _as_merged(events: tuple[Paths, ...], *, into: int) -> tuple[Paths, ...]:
    """Without the events between the first and the last, if the other engine has just one kind less.

    On a busy machine a real engine puts all tokens that wait to be sent into one event: the last, at times.
    """
    between = [e for e in events if _UNFINISHED in e and _FIRST not in e]
    return tuple(e for e in events if e not in between) if len(events) - len(between) == into else events


def metric_differences(real: Figures, emulated: Figures) -> Iterator[str]:
    """Families by name, type and label names; ``+`` and ``-`` as above."""
    ones, others = _families(real), _families(emulated)
    for name in sorted(ones.keys() | others.keys()):
        if name not in others:
            yield f"+ {name}"
        elif name not in ones:
            yield f"- {name}"
        elif ones[name] != others[name]:
            yield f"{name}: {ones[name]} not {others[name]}"


def _families(page: Figures) -> dict[str, str]:
    """vLLM's own families, each with its type and label names; ``_created`` gauges come with counters."""
    found = {}
    for family, kind in page.types.items():
        if not family.startswith("vllm:") or family.endswith("_created"):
            continue
        labels = {
            name
            for s in page.samples
            if s.name.startswith(family) and s.name.removeprefix(family) in _SUFFIXES
            for name in s.labels
        }
        found[family] = f"{kind}({', '.join(sorted(labels))})"
    return found


_SUFFIXES: Final = ("", "_total", "_bucket", "_sum", "_count")

"""What engines demand of requests, as tables of rules, and what becomes of one that breaks them.

Real engines punish late or not at all: wrong KV, pinned blocks, a dead process. The fake engines note each
breach at once in their world's ``violations``, which tests assert to be empty.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

Body = dict[str, Any]
L = TypeVar("L")


@dataclass(frozen=True)
class Rule(Generic[L]):
    """``says`` is how a breach reads; ``when`` is whom the rule concerns, by default everyone."""

    says: str
    holds: Callable[[L], bool]
    when: Callable[[L], bool] = lambda _: True


def breaches(rules: Iterable[Rule[L]], leg: L) -> list[str]:
    return [rule.says for rule in rules if rule.when(leg) and not rule.holds(leg)]


@dataclass(frozen=True)
class Request:
    """A body as it arrived. ``twice`` are names that it has more than once: which counts is a guess."""

    body: Body
    headers: Mapping[str, str]
    twice: tuple[str, ...] = ()

    @property
    def asked(self) -> Body:
        """What the client wants to know, the same in both legs of a round."""
        return {name: self.body.get(name) for name in ("model", "messages", "prompt", "temperature", "seed")}


def read(content: bytes, headers: Mapping[str, str]) -> Request:
    twice: list[str] = []

    def pairs(found: list[tuple[str, Any]]) -> Body:
        names = [name for name, _ in found]
        twice.extend(name for name in set(names) if names.count(name) > 1)
        return dict(found)

    body = json.loads(content, object_pairs_hook=pairs)
    assert isinstance(body, dict)
    return Request(body, headers, tuple(sorted(twice)))


@dataclass
class World:
    """What all fake engines of a test know together."""

    violations: list[str] = field(default_factory=list)

    def note(self, found: Iterable[str]) -> None:
        self.violations.extend(found)

    def check(self, *, ok: bool, rule: str) -> None:
        if not ok:
            self.violations.append(rule)


# Fields and headers with which a client could steer an engine; routers use some of them, clients none.
RANKS = ("data_parallel_rank", "routed_dp_rank", "disagg_prefill_dp_rank")
STEERING_HEADERS = (
    "x-prefiller-host-port",
    "x-data-parallel-rank",
    "x-data-parallel-host-port",
    "x-encoder-hosts-ports",
    "x-kv-cache-source-host-port",
    "x-override-rid",
    "x-override-routed-dp-rank",
)


def without(names: Iterable[str], *, of: Callable[[L], Mapping[str, Any]], what: str) -> list[Rule[L]]:
    """One rule for each name that must not be there."""

    def absent(name: str) -> Callable[[L], bool]:
        return lambda leg: name not in of(leg)

    return [Rule(f"client's {what}{name} reached an engine", absent(name)) for name in names]

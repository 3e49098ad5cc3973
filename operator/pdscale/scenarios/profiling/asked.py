"""What can be asked of ``pdscale profile``: flags to one frozen value.

What an engine does not tell of itself (memory, bytes of KV, network) comes from flags, or is lent by a
built-in profile of the same model with ``--engine``, as the simulator's ``--engine`` lends it to tables
of times.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pdscale.model.units import Seconds
from pdscale.perf.builtin import BUILTIN
from pdscale.perf.profile import Profile
from pdscale.scenarios.credentials import bearer
from pdscale.scenarios.fields import (
    InvalidScenario,
    bandwidth,
    count,
    duration,
    flag,
    given_flags,
    number,
    parsed,
    path,
    several,
    text,
)


def _url(raw: str) -> str:
    if not re.fullmatch(r"https?://[^/\s?#]+(/[^\s?#]*)?", raw):
        raise ValueError(f"must look like http://host:port, got {raw!r}")
    return raw.rstrip("/").removesuffix("/v1")


def _document(raw: str) -> Path:
    if not raw.endswith(".json"):
        raise ValueError(f"must end in .json, by which a profile is known to be one, got {raw!r}")
    return path(raw)


def _lender(raw: str) -> Profile:
    if raw not in BUILTIN:
        raise ValueError(f"must be one of {', '.join(sorted(BUILTIN))}, got {raw!r}")
    return BUILTIN[raw]


_LENGTHS: Final = several(count(least=1))

FIELDS: Final = (
    flag("url", _url, None, "URL", "the engine, such as http://localhost:8000; behind no router"),
    flag("prefill-url", _url, None, "URL", "a second vLLM of the same model: transfers from it are timed"),
    flag("model", text, None, "NAME", "which of its models [the only one]"),
    flag("bearer-file", path, None, "FILE", "holds a token for the engine"),
    flag("budget", duration(above=0), 600.0, "TIME", "longest time; what was measured by then counts"),
    flag("repeats", count(least=1), 3, "N", "measurements of each prefill; the median counts"),
    flag("steps", count(least=4), 32, "N", "decode steps of each stream that are looked at"),
    flag("prompts", _LENGTHS, (), "N[,N]", "new tokens of prefills [32 to --max-batched-tokens]"),
    flag("histories", _LENGTHS, (2048, 8192, 24576), "N[,N]", "cached tokens before them, and none"),
    flag("batches", _LENGTHS, (1, 2, 4, 8, 16, 32, 64, 128), "N[,N]", "streams at a time"),
    flag("contexts", _LENGTHS, (256, 1024, 4096, 16384), "N[,N]", "tokens of each stream"),
    flag("longest", count(least=64), None, "N", "longest context [the engine's own]"),
    flag("kv-tokens", count(least=1), None, "N", "KV memory [the engine's own word]"),
    flag("kv-bytes-per-token", number(above=0), None, "BYTES", "of KV [the engine's own word]"),
    flag("bandwidth", bandwidth, None, "BANDWIDTH", "of KV transfers, where they are not timed"),
    flag(
        "engine", _lender, None, "NAME", "built-in profile that lends memory and network where none is known"
    ),
    flag("max-batched-tokens", count(least=1), 8192, "N", "most tokens of one pass, as the engine is told"),
    flag("max-sequences", count(least=1), 256, "N", "most sequences of one pass, likewise"),
    flag("name", text, None, "NAME", "of the profile [the model's]"),
    flag("out", _document, Path("profile.json"), "FILE", "where the profile is written"),
    flag("seed", count(), 1, "N", "of prompts, order and held-out points"),
)


@dataclass(frozen=True, slots=True)
class Asked:
    """The fields above. Lengths are in tokens; an empty ``prompts`` leaves the choice to the sweep."""

    url: str
    prefill_url: str | None
    model: str | None
    bearer_file: Path | None
    budget: Seconds
    repeats: int
    steps: int
    prompts: tuple[int, ...]
    histories: tuple[int, ...]
    batches: tuple[int, ...]
    contexts: tuple[int, ...]
    longest: int | None
    kv_tokens: int | None
    kv_bytes_per_token: float | None
    bandwidth: float | None
    engine: Profile | None
    max_batched_tokens: int
    max_sequences: int
    name: str | None
    out: Path
    seed: int
    anyway: bool = False

    def __post_init__(self) -> None:
        if self.prefill_url is not None and self.bandwidth is not None:
            raise InvalidScenario(
                "--prefill-url and --bandwidth: transfers are timed or told, give one of them"
            )

    @property
    def headers(self) -> Mapping[str, str]:
        """The token is read here."""
        token = bearer(self.bearer_file)
        return {} if token is None else {"Authorization": token.header}


def asked(flags: Mapping[str, Any]) -> Asked:
    """``flags`` has texts by attribute name, ``None`` where a flag was not given."""
    given = given_flags(FIELDS, flags)
    if "url" not in given:
        raise InvalidScenario("--url: is needed, such as http://localhost:8000")
    return Asked(**parsed(FIELDS, given), anyway=flags["anyway"])

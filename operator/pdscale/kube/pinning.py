"""For how long decode engines keep the KV of a round that ended: which value a pool's template gets.

The right one follows from how long sessions pause, and that changes with the day. But it is an argument of
the engine, and another argument replaces every pod of a pool. So a value is taken when a template is made, or
changes for another reason, and stays as long as the rest of the template does. What a template is without it
(its *shape*) and the value in force are annotations of the Deployment: a restart knows them, too.
"""

import math
from collections.abc import Mapping
from typing import Any, Final

from pdscale.api.v1alpha1 import GROUP, Spec
from pdscale.model.units import Seconds, parse_duration

ARGUMENT: Final = "--kv-transfer-config"
TTL: Final = f"{GROUP}/decoder-kv-blocks-ttl"
SHAPE: Final = f"{GROUP}/template-shape"
# Every round that ends leaves its blocks pinned for this while, session or not: at 3 rounds/s of 1400 tokens
# a minute pins 0.25 M tokens of KV; vLLM's default of 480 s would pin 2 M, more than a replica has. A round
# that comes later finds no pinned history, but maybe the decode engine's prefix cache.
DEFAULT: Final = 60
LEAST: Final = 10  # below it, the time that a transfer waits for its turn counts
MOST: Final = 480  # vLLM's own default


def applies(spec: Spec) -> bool:
    """Whether what the operator writes is what this engine obeys: of two such arguments it takes the last."""
    engine = spec.engine
    return engine.type != "SGLang" and not engine.command and not any(map(_overrides, engine.args))


def _overrides(argument: str) -> bool:
    """``--kv-transfer-config``, also with ``=``, a field after a dot, or vLLM's underscores."""
    return argument.replace("_", "-").startswith(ARGUMENT)


def explicit(spec: Spec) -> int | None:
    """What the user has set, in whole seconds."""
    given = spec.engine.decoder_kv_blocks_ttl
    return None if given is None else math.ceil(parse_duration(given))


def in_force(
    live: Mapping[str, Any] | None, shape: str, *, given: int | None, observed: Seconds | None
) -> int:
    """Seconds for the template of a pool whose Deployment is ``live``, None if there is none yet.

    A Deployment that says nothing was made by an operator that knew ``DEFAULT`` only.
    """
    if given is not None:
        return given
    said = noted(live)
    if said is None:
        return DEFAULT if observed is None else bounded(observed)
    before = int(said[0]) if said[0].isdecimal() else DEFAULT
    if said[1] in (None, shape) or observed is None:
        return before
    return bounded(observed)


def noted(live: Mapping[str, Any] | None) -> tuple[str, str | None] | None:
    """All that is looked at of a pool's Deployment, its value and its shape; None if there is none."""
    if live is None:
        return None
    said = live["metadata"].get("annotations") or {}
    return said.get(TTL, ""), said.get(SHAPE)


def bounded(seconds: Seconds) -> int:
    return min(MOST, max(LEAST, math.ceil(seconds)))

"""Which figures are believed. What is not believed is unknown, never zero and never mended.

- No rate and no count is below zero, and no share is outside 0..1: a query that says so is wrong.
- The front router counts the tokens of a round and the round together. An instant at which one of these is
  unknown says nothing about any of them: a missing sum over a known number of rounds would be a mean of zero
  tokens, and pools would be sized for that. Nor do the estimates for rounds that ended mean anything where
  it is unknown how many ended.

Counter resets, restarts and new series are the query's business (``queries``): only the server sees them.
"""

import math
from collections.abc import Mapping
from typing import Final

from pdscale.prom.answers import Column

# Counted together by the front router when a round ends.
_OF_ROUNDS: Final = (
    "completed",
    "prompt_tokens",
    "uncached_tokens",
    "uncached_tokens_squared",
    "output_tokens",
    "output_tokens_squared",
)
_ROUNDING: Final = 1e-6


def sound(columns: Mapping[str, Column]) -> dict[str, Column]:
    """The columns without what cannot be; the given ones are left as they are."""
    found = {name: _plausible(name, column) for name, column in columns.items()}
    together = [found[name] for name in _OF_ROUNDS if name in found]
    silenced = [found[name] for name in (*_OF_ROUNDS, "ended_estimates") if name in found]
    for i, row in enumerate(zip(*together, strict=True)):
        if math.isnan(math.fsum(row)):
            for column in silenced:
                column[i] = math.nan
    return found


def _plausible(name: str, column: Column) -> Column:
    most = 1.0 + _ROUNDING if name == "local_share" else math.inf
    found = column[:]
    for i, value in enumerate(column):
        if not -_ROUNDING <= value <= most:
            found[i] = math.nan
        elif value < 0:
            found[i] = 0.0
    return found

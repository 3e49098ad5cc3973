"""Arrivals and lengths: from a trace file, or from published figures when there is none.

A trace is CSV (plain or gzip) with the columns ``timestamp_s``, ``input_tokens`` and ``output_tokens``;
others are ignored. A row that cannot be read stops everything with file, row and column: a silently
shortened trace would make every figure measured on it wrong.
"""

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from pdscale.perf.table import TableError
from pdscale.workload.files import UnreadableFile, read_csv


class TraceError(ValueError):
    """The trace file cannot be used; the message names file, row and column."""


@dataclass(frozen=True, slots=True)
class Request:
    """One round: seconds after the start, prompt and answer lengths in tokens."""

    at: float
    input_tokens: int
    output_tokens: int


COLUMNS: Final = ("timestamp_s", "input_tokens", "output_tokens")


def load(path: Path) -> list[Request]:
    """Requests in order of arrival, the first at 0."""
    try:
        table = read_csv(path)
        table.require(*COLUMNS)
        at = table.floats("timestamp_s")
        prompts = table.integers("input_tokens", least=1)
        answers = table.integers("output_tokens", least=1)
    except (TableError, UnreadableFile) as error:
        raise TraceError(str(error)) from error
    if not at:
        raise TraceError(f"{path}: holds no request")
    first = min(at)
    rows = zip(at, prompts, answers, strict=True)
    return sorted((Request(t - first, prompt, answer) for t, prompt, answer in rows), key=lambda r: r.at)


def shaped(requests: Sequence[Request], *, seconds: float, seed: int) -> list[Request]:
    """Play the whole span in ``seconds``: time is compressed, and thinned by the same factor.

    So the rate in requests per second stays that of the trace, while its ups and downs come faster.
    58 minutes in 200 s: time / 17.4, one request in 17.4.
    """
    span = requests[-1].at
    factor = span / seconds if span > seconds else 1.0
    chance = random.Random(seed)
    kept = (r for r in requests if chance.random() * factor < 1)
    return [replace(r, at=r.at / factor) for r in kept]


# Azure Public Dataset, LLM inference trace 2023 (conversation), Microsoft, CC-BY-4.0: requests in each
# minute, and quantiles of the lengths (share, tokens). Cite: Patel et al., Splitwise, ISCA 2024.
AZURE_PER_MINUTE: Final = (
    *(191, 265, 329, 353, 307, 273, 268, 261, 322, 298, 301, 302, 345, 326, 283, 279, 280, 308, 343, 351),
    *(351, 343, 408, 396, 386, 398, 432, 480, 476, 453, 448, 507, 438, 413, 423, 418, 465, 311, 329, 316),
    *(333, 355, 319, 360, 334, 375, 330, 249, 221, 249, 265, 280, 256, 254, 242, 260, 246, 225),
)
_SHARES: Final = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0)
AZURE_INPUT: Final = (2, 207, 396, 1020, 1189, 2735, 4083, 4142, 14050)
AZURE_OUTPUT: Final = (7, 54, 85, 129, 395, 424, 451, 601, 1000)


def published(seed: int) -> list[Request]:
    """A trace drawn from the published figures: Poisson within each minute, lengths independent."""
    chance = random.Random(seed)
    requests = [
        Request(
            at=60 * (minute + chance.random()),
            input_tokens=_draw(AZURE_INPUT, chance.random()),
            output_tokens=_draw(AZURE_OUTPUT, chance.random()),
        )
        for minute, count in enumerate(AZURE_PER_MINUTE)
        for _ in range(count)
    ]
    return sorted(requests, key=lambda r: r.at)


def _draw(lengths: Sequence[int], share: float) -> int:
    """Straight lines between the known quantiles."""
    for (low, a), (high, b) in itertools.pairwise(zip(_SHARES, lengths, strict=True)):
        if share <= high:
            return max(1, round(a + (b - a) * (share - low) / (high - low)))
    return lengths[-1]

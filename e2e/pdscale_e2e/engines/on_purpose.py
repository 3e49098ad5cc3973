"""Where the emulated engine differs from a real vLLM 0.33 on purpose, each with the reason.

A difference that no row explains fails the tier, and so does a row that explains none any more.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Final


@dataclass(frozen=True, slots=True)
class Row:
    """``asks`` and ``line`` are patterns as of file names; ``[]`` in a line is meant as it stands."""

    asks: str
    line: str
    reason: str

    def explains(self, ask: str, line: str) -> bool:
        return fnmatchcase(ask, self.asks) and fnmatchcase(line, self.line.replace("[]", "[[]]"))


ON_PURPOSE: Final[tuple[Row, ...]] = (
    Row(
        "chat message without a role",
        "* error param=*",
        "vLLM names the schema's own class (ChatCompletionDeveloperMessageParam); nobody reads that name",
    ),
    Row("models", "0: * data[].permission*", "a list of constants; nobody reads it"),
    Row(
        "metrics",
        "vllm:cache_config_info: *",
        "its labels are vLLM's whole cache configuration; those that say the cache's size are there",
    ),
    Row("metrics", "vllm:admission_rejections_total: *", "alone among all it lacks the label engine"),
    Row("metrics", "+ vllm:estimated_*", "no model runs, so there are no operations and bytes to count"),
    Row("metrics", "+ vllm:mm_cache_*", "there are no images in prompts"),
    Row(
        "metrics",
        "+ vllm:request_max_num_generation_tokens",
        "equals request_generation_tokens with one answer",
    ),
    Row("metrics", "+ vllm:request_params_n", "several answers to one prompt are refused"),
)


@dataclass(frozen=True, slots=True)
class Judged:
    """``unexplained`` are differences without a row; ``idle`` are rows without a difference."""

    unexplained: tuple[str, ...] = ()
    idle: tuple[Row, ...] = field(default=())

    def described(self) -> str:
        lines = [f"no row explains: {line}" for line in self.unexplained]
        return "\n".join([*lines, *(f"explains nothing any more: {row}" for row in self.idle)])


def judge(found: Iterable[tuple[str, str]], rows: tuple[Row, ...] = ON_PURPOSE) -> Judged:
    """``found`` are pairs: which request, and one line of ``shapes.differences``."""
    seen = list(found)
    lost = tuple(f"{a} | {line}" for a, line in seen if not any(r.explains(a, line) for r in rows))
    idle = tuple(row for row in rows if not any(row.explains(*one) for one in seen))
    return Judged(lost, idle)

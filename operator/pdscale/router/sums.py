"""Sums that every round adds to, in plain fields named as their series: a table takes seven times as long."""

from typing import Final

from pdscale.engines.answers import Usage

COMPLETED: Final = (
    "completed",
    "output_tokens",
    "output_tokens_squared",
    "prompt_tokens",
    "uncached_prompt_tokens",
    "uncached_prompt_tokens_squared",
)
ARRIVED: Final = ("arrived_uncached_tokens", "arrived_uncached_tokens_squared")
ENDED: Final = ("estimated_uncached_tokens", "measured_uncached_tokens")


class Tokens:
    """Sums over completed rounds, by the engine's count."""

    __slots__ = COMPLETED

    def __init__(self) -> None:
        self.completed = self.prompt_tokens = self.output_tokens = self.output_tokens_squared = 0
        self.uncached_prompt_tokens = self.uncached_prompt_tokens_squared = 0.0

    def add(self, usage: Usage, uncached: float) -> None:
        self.completed += 1
        self.prompt_tokens += usage.prompt
        self.output_tokens += usage.completion
        self.output_tokens_squared += usage.completion * usage.completion
        self.uncached_prompt_tokens += uncached
        self.uncached_prompt_tokens_squared += uncached * uncached


class Estimates:
    """Sums over rounds of their uncached tokens, before anybody had computed them and after."""

    __slots__ = (*ARRIVED, *ENDED)

    def __init__(self) -> None:
        self.arrived_uncached_tokens = self.arrived_uncached_tokens_squared = 0.0
        self.estimated_uncached_tokens = self.measured_uncached_tokens = 0.0

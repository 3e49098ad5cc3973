"""Values of options: conversions that refuse with the bound that was crossed."""

import argparse
import re
from collections.abc import Callable
from typing import Final

_MULTIPLES: Final = {"": 1, "k": 10**3, "m": 10**6, "K": 2**10, "M": 2**20}


class BadOption(ValueError):
    """An option that cannot be used: the caller's fault. The message names option and bound."""


def whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """Whole numbers, with vLLM's suffixes: 32k is 32000, 32K is 32768."""
    bound = f"at least {least}" if most is None else f"in {least}..{most}"

    def convert(text: str) -> int:
        match = re.fullmatch(r"(-?\d+)([kmKM]?)", text)
        number = int(match[1]) * _MULTIPLES[match[2]] if match else None
        if number is None or number < least or (most is not None and number > most):
            raise argparse.ArgumentTypeError(f"must be a whole number {bound}, got {text}")
        return number

    return convert


def number(least: float, *, open_end: bool = False) -> Callable[[str], float]:
    def convert(text: str) -> float:
        try:
            figure = float(text)
        except ValueError:
            figure = float("nan")
        if not (figure > least if open_end else figure >= least):
            bound = f"above {least}" if open_end else f"at least {least}"
            raise argparse.ArgumentTypeError(f"must be a number {bound}, got {text}")
        return figure

    return convert

"""How quantiles did that were said: what models are compared by, and switched off for.

The levels are fixed and not those that are asked for, so that the choice of a model depends on none.
"""

from typing import Final

# What models are compared by, and the one among them by which they are kept honest.
LEVELS: Final = (0.8, 0.9, 0.95)
JUDGED: Final = 0.9

# Forecasts by which coverage is told, and the half-life of the losses by which models are compared.
_TOLD = 500
_FADE = 0.5 ** (1 / 300)

# Whether the quantiles of a forecast held: the one at 0.9, and the one that is wanted.
_NINE, _WANTED = 1, 2


class Verdict:
    """``losses`` are pinball losses by level, ``judged`` how many of the last forecasts are remembered."""

    def __init__(self) -> None:
        self.losses = dict.fromkeys(LEVELS, 0.0)
        self._held = bytearray()

    @property
    def judged(self) -> int:
        return len(self._held)

    def learn(self, quantiles: tuple[float, ...], value: float) -> bool:
        """Quantiles at ``LEVELS`` and at the wanted level, and what came; whether the one at 0.9 held."""
        for level, quantile in zip(LEVELS, quantiles, strict=False):
            short = value - quantile
            loss = max(level * short, (level - 1) * short)
            self.losses[level] = _FADE * self.losses[level] + loss
        # Rounding errors are forgiven.
        held = [value <= q * (1 + 1e-9) + 1e-12 for q in quantiles]
        nine = held[LEVELS.index(JUDGED)]
        self._held.append(_NINE * nine + _WANTED * held[-1])
        del self._held[:-_TOLD]
        return nine

    def coverage(self, *, judged: bool = False) -> float | None:
        """Share of the last forecasts that held, at 0.9 if ``judged``; None when there are none."""
        if not self._held:
            return None
        bit = _NINE if judged else _WANTED
        return sum(bool(held & bit) for held in self._held) / len(self._held)

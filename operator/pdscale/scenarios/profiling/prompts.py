"""Prompts of so many tokens, each unlike all others, without a tokenizer.

Words are drawn from a short list of common English ones, which most vocabularies have as one token each;
how many tokens a word really takes is learnt from the engine's own usage and kept as ``Scale``. Two
prompts share a block of the prefix cache with a chance of 1 to 100^16.
"""

import random
from dataclasses import dataclass
from typing import Final

_WORDS: Final = """
time year people way day man thing woman life child world school state family student group country problem
hand part place case week company system program question work government number night point home water room
mother area money story fact month lot right study book eye job word business issue side kind head house
service friend father power hour game line end member law car city community name president team minute idea
kid body information back parent face others level office door health person art war history party result
change morning reason research girl guy moment air teacher force education
"""


@dataclass(frozen=True, slots=True)
class Scale:
    """Tokens of a word, and of what the engine puts around a prompt."""

    per_word: float
    around: float

    def words(self, tokens: float) -> int:
        return max(1, round((tokens - self.around) / self.per_word))

    @staticmethod
    def of(first: tuple[int, int], second: tuple[int, int]) -> "Scale":
        """From two (words, tokens); the second is longer."""
        per_word = (second[1] - first[1]) / (second[0] - first[0])
        if not per_word > 0:
            raise ValueError(
                f"a longer prompt must have more tokens, got {first[1]} of {first[0]} words and "
                f"{second[1]} of {second[0]}"
            )
        return Scale(per_word, max(0.0, first[1] - per_word * first[0]))


class Prompts:
    """``rng`` draws the words."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._known = _WORDS.split()

    def words(self, count: int) -> str:
        return " ".join(self._rng.choices(self._known, k=count))

"""How one engine wants to be asked: which path it has, whether answers of a fixed length can be had.

Found by asking, from the most wanted to the least: completions before chat, since a chat template adds tokens
to each prompt; with ``ignore_eos`` (vLLM, SGLang, TGI's successors) before without, where an answer may end
before enough of its steps were seen.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pdscale.scenarios.profiling.client import Answer, Engine
from pdscale.scenarios.profiling.errors import EngineRefused

_UNKNOWN: Final = (400, 404, 405, 422)


@dataclass(frozen=True, slots=True)
class Dialect:
    """Bodies for one model of one engine."""

    model: str
    chat: bool
    ignores_eos: bool

    @property
    def path(self) -> str:
        return "/v1/chat/completions" if self.chat else "/v1/completions"

    def body(self, prompt: str, *, tokens: int) -> Mapping[str, Any]:
        asked: dict[str, Any] = {"model": self.model, "max_tokens": tokens, "temperature": 0}
        if self.chat:
            asked["messages"] = [{"role": "user", "content": prompt}]
        else:
            asked["prompt"] = prompt
        return asked | ({"ignore_eos": True} if self.ignores_eos else {})

    async def first_token(self, engine: Engine, prompt: str) -> Answer:
        """A prefill alone, as far as an endpoint shows one: the answer ends with its first token."""
        return await engine.whole(self.path, self.body(prompt, tokens=1))


async def dialect_of(engine: Engine, model: str, prompt: str) -> Dialect:
    """The first form that the engine takes; the last refusal if there is none."""
    forms = [Dialect(model, chat, ignores) for chat in (False, True) for ignores in (True, False)]
    for form in forms:
        try:
            await form.first_token(engine, prompt)
        except EngineRefused as error:
            if error.status not in _UNKNOWN or form is forms[-1]:
                raise
        else:
            return form
    raise AssertionError("the last form is taken or refused")

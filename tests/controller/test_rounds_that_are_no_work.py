"""A role that rounds are no work for carries any number of them; no status has a word for that in JSON."""

from dataclasses import dataclass, fields, replace
from typing import Any

from fakes.kube import PLURAL
from fakes.operator import Bench
from fakes.serving import SteadyMetrics
from pdscale.controller.explain import explained
from pdscale.controller.explain_text import text
from pdscale.scaling.history import History


@dataclass(slots=True)
class NothingCounted(SteadyMetrics):
    """Rounds that end without a token, as the first scrapes of a new deployment may show them."""

    async def history(self, **asked: Any) -> History:
        past = await SteadyMetrics.history(self, **asked)
        none = replace(past.output_tokens, values=(0.0,) * len(past.output_tokens.values))
        lengths = (
            f.name for f in fields(History) if "tokens" in f.name and getattr(past, f.name) is not None
        )
        return replace(past, **dict.fromkeys(lengths, none))


async def test_the_plan_is_told_without_a_rate_of_that_role(it: Bench) -> None:
    it.source = NothingCounted(rate=1.0)
    it.create()
    await it.tick()
    await it.tick(after=15.0)
    status = it.status()
    assert status["demand"]["decode"] == {"replicas": 0.0, "limit": "Load"}
    assert status["plan"]["trail"]
    assert "decode any rounds/s (Load)" in text(explained(it.fake.get(PLURAL, "chat")))

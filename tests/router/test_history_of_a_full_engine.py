"""What is pinned for a session cannot be evicted: an engine that is nearly full pins nothing more."""

import asyncio

import pytest

from fakes.engine import FakeEngine
from fakes.fleet import Fleet, eventually, running_fleet
from pdscale.model.pools import Role
from pdscale.router.policies import PolicyName


class FullEngine(FakeEngine):
    def metrics(self) -> str:
        return super().metrics().replace("0.25", "0.9")


def memory_in_use(fleet: Fleet) -> float:
    (decode,) = fleet.front.roster.view(asyncio.get_running_loop().time()).of(Role.DECODE)
    return decode.load.kv_usage


@pytest.mark.parametrize(
    ("engine", "kind"),
    [pytest.param(FakeEngine, "local", id="room"), pytest.param(FullEngine, "plain", id="nearly full")],
)
async def test_history_is_kept_only_while_the_engine_has_room(engine: type[FakeEngine], kind: str) -> None:
    async with running_fleet(policy=PolicyName.ALWAYS_LOCAL, new_engine=engine) as fleet:
        await eventually(lambda: memory_in_use(fleet) > 0, what="the front hears of the engine's memory")
        assert (await fleet.chat(headers={"X-Session-ID": "s"})).status == 200
        assert fleet.engines["d-0"].kinds == [kind]

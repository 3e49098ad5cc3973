"""A sidecar whose engine hands nothing out stops asking for it, and says so."""

import json

import pytest

from fakes.engine import Fault, KvWorld
from fakes.fleet import Fleet, running_fleet
from pdscale.emulator.options import parse
from pdscale.emulator.server import EngineServer
from pdscale.engines.answers import Usage
from pdscale.engines.dialects import VLLM, EngineType
from pdscale.router.flows.capabilities import Asked, HistoryMoves
from pdscale.router.flows.delivery import Verdict
from pdscale.router.policies import PolicyName

LONG = "some more words " * 200
SESSION = {"X-Session-ID": "s"}
MOVES = 'history_moves{place="sidecar",reason="%s"}'


def one_way(_: KvWorld, name: str) -> EngineServer:
    """The connector as it is without ``bidirectional_kv_xfer``."""
    transfer = json.dumps({"kv_connector": "NixlConnector", "kv_role": "kv_both"})
    arguments = ["--host", "127.0.0.1", "--port", "0", "--side-channel-port", "0", "--model", "fake"]
    arguments += ["--side-channel-host", "127.0.0.1", "--speed", "50", "--enable-prompt-tokens-details"]
    return EngineServer(parse([*arguments, "--kv-transfer-config", transfer], {})[0])


async def exposed(fleet: Fleet, name: str = "d-0") -> str:
    async with fleet.client.get(f"http://127.0.0.1:{fleet.sidecars[name].admin_port}/metrics") as answer:
        lines = (await answer.text()).splitlines()
    found = [line for line in lines if line.startswith("pdscale_router_history_moves")]
    return "".join(found).removeprefix("pdscale_router_")


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
async def test_local_rounds_become_plain_after_three_that_brought_nothing(stream: bool) -> None:
    async with running_fleet(policy=PolicyName.ALWAYS_LOCAL) as fleet:
        assert await exposed(fleet) == MOVES % "NotSeenYet" + " 1.0"
        fleet.engines["d-0"].faults += [Fault.NO_PARAMS] * 3
        for _ in range(5):
            assert (await fleet.chat(LONG, stream=stream, headers=SESSION)).status == 200
        assert fleet.engines["d-0"].kinds == ["local"] * 3 + ["plain"] * 2
        assert await exposed(fleet) == MOVES % "NeverHandedOut" + " 0.0"
        assert fleet.world.violations == []


async def test_rounds_too_short_to_fill_a_block_say_nothing() -> None:
    async with running_fleet(policy=PolicyName.ALWAYS_LOCAL) as fleet:
        fleet.engines["d-0"].faults += [Fault.NO_PARAMS] * 5
        for _ in range(6):
            await fleet.chat("hi", headers=SESSION)
        assert fleet.engines["d-0"].kinds == ["local"] * 6
        assert await exposed(fleet) == MOVES % "HandedOut" + " 1.0"


async def test_a_remote_round_that_brings_parameters_turns_it_back() -> None:
    async with running_fleet() as fleet:
        fleet.engines["d-0"].faults += [Fault.NO_PARAMS] * 3
        for _ in range(3):
            await fleet.chat(LONG, stream=True, headers=SESSION)
        assert await exposed(fleet) == MOVES % "NeverHandedOut" + " 0.0"
        await fleet.chat(LONG, stream=True, headers=SESSION)
        assert await exposed(fleet) == MOVES % "HandedOut" + " 1.0"
        assert fleet.world.violations == []


async def test_an_engine_that_transfers_one_way_is_found_out() -> None:
    async with running_fleet(new_engine=one_way) as fleet:
        for i in range(3):
            assert (await fleet.chat(f"{i} {LONG}", stream=True, headers=SESSION)).status == 200
        assert await exposed(fleet) == MOVES % "NeverHandedOut" + " 0.0"


BROUGHT = Verdict(200, Usage(500, 50), {"remote_block_ids": [[1]]})
EMPTY = Verdict(200, Usage(500, 50))


def test_local_rounds_prove_nothing_once_a_decode_leg_came_back_with_empty_hands() -> None:
    history = HistoryMoves(VLLM())
    for _ in range(3):
        history.learn(BROUGHT, Asked.TO_KEEP, streamed=True)
        assert history.dialect == VLLM(bidirectional=True)
        history.learn(EMPTY, Asked.TO_FETCH, streamed=True)
    assert history.dialect == VLLM(bidirectional=False)
    history.learn(BROUGHT, Asked.TO_KEEP, streamed=True)
    assert history.dialect == VLLM(bidirectional=False)
    history.learn(BROUGHT, Asked.TO_FETCH, streamed=True)
    assert history.dialect == VLLM(bidirectional=True)


@pytest.mark.parametrize(
    "verdict",
    [
        pytest.param(Verdict(502, Usage(500, 50)), id="failed"),
        pytest.param(Verdict(200, Usage(100, 5)), id="short"),
        pytest.param(Verdict(200), id="of unknown length"),
    ],
)
def test_rounds_that_say_nothing(verdict: Verdict) -> None:
    history = HistoryMoves(VLLM())
    for _ in range(9):
        history.learn(verdict, Asked.TO_FETCH, streamed=True)
    assert history.dialect == VLLM(bidirectional=True)


async def test_what_is_switched_off_is_not_asked_for() -> None:
    async with running_fleet(policy=PolicyName.ALWAYS_LOCAL, bidirectional=False) as fleet:
        await fleet.chat(LONG, headers=SESSION)
        assert fleet.engines["d-0"].kinds == ["plain"]
        assert await exposed(fleet) == MOVES % "SwitchedOff" + " 0.0"


async def test_engines_that_never_move_history_have_no_such_series() -> None:
    async with running_fleet(engine_type=EngineType.SGLANG) as fleet:
        assert await exposed(fleet) == ""

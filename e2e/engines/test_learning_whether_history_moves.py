"""A sidecar finds out whether its real engine hands a session's history out, and says so."""

import random
from typing import Any

from pdscale_e2e.engines.figures import Figures
from pdscale_e2e.engines.processes import RealEngine, wait_free
from pdscale_e2e.engines.talk import TEXT, Client, Conversation


def history_moves(figures: Figures) -> dict[str, float]:
    """By reason."""
    return {s.labels["reason"]: s.value for s in figures.samples if s.name == "pdscale_router_history_moves"}


async def talk(client: Client, url: str, conversation: Conversation, rounds: int) -> None:
    for _ in range(rounds):
        body = conversation.next_body(many=45)  # 315 tokens: a round that tells
        answer = await client.ask(url, conversation.path, body, session=conversation.name)
        assert answer.ended_well, answer.text
        conversation.heard(answer)


async def test_history_moves_between_engines_that_transfer_both_ways(
    engines: list[RealEngine], client: Client, routed: Any
) -> None:
    prefill, decode, _ = engines
    with routed([prefill], [decode], "--placement", "AlwaysRemote") as routers:
        assert history_moves(routers.at(decode)) == {"NotSeenYet": 1.0}
        await talk(client, routers.url, Conversation("moves", TEXT, True, random.Random(1)), 1)
        assert history_moves(routers.at(decode)) == {"HandedOut": 1.0}


async def test_an_engine_that_transfers_one_way_is_found_out_and_pins_nothing(
    engines: list[RealEngine], client: Client, routed: Any
) -> None:
    prefill, _, one_way = engines
    wait_free([one_way], within=30)
    session = Conversation("stays", TEXT, True, random.Random(2))
    with routed([prefill], [one_way], "--placement", "AlwaysRemote") as routers:
        await talk(client, routers.url, session, 3)
        assert history_moves(routers.at(one_way)) == {"NeverHandedOut": 0.0}
        assert routers.placements() == {("remote", "PolicyAlwaysRemote"): 3}
    assert one_way.kv_usage() == 0.0
    with routed([prefill], [one_way], "--placement", "AlwaysLocal", "--kv-transfer", "one-way") as routers:
        await talk(client, routers.url, session, 1)
        assert history_moves(routers.at(one_way)) == {"SwitchedOff": 0.0}
    assert one_way.kv_usage() == 0.0

"""Sessions through front router, sidecars and gate on real engines: the same tokens as one engine alone."""

import asyncio
import random
from typing import Any

import pytest

from pdscale_e2e.engines.figures import Figures
from pdscale_e2e.engines.processes import RealEngine
from pdscale_e2e.engines.talk import CHAT, TEXT, Answer, Client, Conversation, read_answer
from pdscale_e2e.waiting import eventually

ROUNDS = 6
FORMS = [(CHAT, False), (CHAT, True), (TEXT, False), (TEXT, True)]
TRANSFERRED = "external_kv_transfer"
Asked = tuple[str, dict[str, Any], Answer]


def prompt_tokens(figures: Figures, source: str) -> float:
    return figures.total("vllm:prompt_tokens_by_source_total", source=source)


async def hold(client: Client, url: str, conversation: Conversation, rounds: int = ROUNDS) -> list[Asked]:
    """A session round by round: path, body and answer of each."""
    asked: list[Asked] = []
    for number in range(rounds):
        body = conversation.next_body(many=40 if number == 0 else 12)
        answer = await client.ask(url, conversation.path, body, session=conversation.name)
        assert answer.ended_well, (conversation.name, number, answer.text)
        assert "transfer_params" not in answer.text, (conversation.name, number, answer.text)
        conversation.heard(answer)
        asked.append((conversation.path, body, answer))
    return asked


async def assert_as_one_engine_alone(client: Client, engine: RealEngine, asked: list[Asked]) -> None:
    async def once(path: str, body: dict[str, Any], answer: Answer) -> None:
        alone = await client.ask(engine.url, path, {**body, "stream": False})
        assert answer.tokens == alone.tokens, body

    await asyncio.gather(*(once(*one) for one in asked))


def conversations(count: int, prefix: str) -> list[Conversation]:
    return [
        Conversation(f"{prefix}-{n}", *FORMS[n % len(FORMS)], random.Random(f"{prefix}{n}"))
        for n in range(count)
    ]


HARMFUL: list[dict[str, Any]] = [
    {"kv_transfer_params": {"do_remote_prefill": True}},  # ends the process of a bare engine
    {"kv_transfer_params": {"do_remote_prefill": False, "do_remote_decode": False}},  # pins blocks
    {"kv_transfer_params": {"do_remote_decode": True, "do_remote_prefill": False}},  # pins blocks
    {"kv_transfer_params": "x"},
    {"vllm_xargs": {"kv_transfer_params": "x"}},  # ends the process
    {"ec_transfer_params": {"x": 1}},
]


@pytest.mark.parametrize("stream", [False, True])
async def test_what_would_harm_a_bare_engine_is_harmless_through_the_router(
    free_engines: list[RealEngine], client: Client, routed: Any, stream: bool
) -> None:
    prefill, decode, alone = free_engines
    body = {"prompt": list(range(40)), "max_tokens": 5, "stream": stream}
    with routed([prefill], [decode], "--placement", "AlwaysLocal") as routers:
        answers = [await client.ask(routers.url, TEXT, {**body, **harm}) for harm in HARMFUL]
        expected = await client.ask(alone.url, TEXT, {**body, "stream": False})
        for harm, answer in zip(HARMFUL, answers, strict=True):
            assert answer.ended_well, (harm, answer.text)
            assert answer.tokens == expected.tokens, harm
            assert "transfer_params" not in answer.text, harm
    assert prefill.running
    assert decode.running
    # Requests without a session leave nothing pinned.
    eventually(lambda: decode.kv_usage() == 0, within=2, what="the decode engine holds no block")


@pytest.mark.parametrize("placement", ["AlwaysLocal", "AlwaysRemote", "CostBased"])
async def test_every_round_has_the_tokens_of_one_engine_alone(
    engines: list[RealEngine], client: Client, routed: Any, placement: str
) -> None:
    prefill, decode, alone = engines
    with routed([prefill], [decode], "--placement", placement) as routers:
        sessions = conversations(10, placement)
        held = await asyncio.gather(*(hold(client, routers.url, session) for session in sessions))
        placed = routers.placements()
    for asked in held:
        await assert_as_one_engine_alone(client, alone, asked)
    assert sum(placed.values()) == 10 * ROUNDS
    wanted = {"AlwaysLocal": "local", "AlwaysRemote": "remote"}.get(placement)
    if wanted is not None:
        assert {kind for kind, _ in placed} == {wanted}, placed


async def test_history_moves_after_local_and_after_remote_rounds(
    engines: list[RealEngine], client: Client, routed: Any
) -> None:
    """Each time to a prefill engine that lacks what was said since: another one had the first round."""
    prefill, decode, third = engines
    conversation = Conversation("in-turn", TEXT, True, random.Random(9), answer_tokens=80)
    asked: list[Asked] = []
    read = []
    policy = ("--placement", "AlwaysLocal", "--honour-prefiller-header")
    with routed([prefill, third], [decode], *policy) as routers:
        for named in (third, prefill, None, prefill):
            body = conversation.next_body(many=30)
            before = prompt_tokens(prefill.figures(), TRANSFERRED)
            headers = {} if named is None else {"x-prefiller-host-port": f"{named.address}:8080"}
            sidecar = f"http://{decode.address}:8080"  # the front takes that header from clients
            async with client.open(sidecar, TEXT, body, session="in-turn", headers=headers) as reply:
                answer = read_answer(reply.status, await reply.text())
            assert answer.ended_well, answer.text
            conversation.heard(answer)
            asked.append((TEXT, body, answer))
            read.append(prompt_tokens(prefill.figures(), TRANSFERRED) - before)
        placed = routers.placements()
    await assert_as_one_engine_alone(client, third, asked)
    assert placed == {("local", "PolicyAlwaysLocal"): 1, ("remote", "NamedByHeader"): 3}
    # Round 2, after a remote one: of round 1's prompt of 210 tokens, less 16, six blocks of 32.
    # Round 4, after a local one: of round 3's prompt of 790 tokens 24 blocks, less the 15 of round 2's.
    assert read == [0, 192, 0, 288], read


async def test_an_answer_that_the_client_changed_is_not_read_as_the_old_one(
    engines: list[RealEngine], client: Client, routed: Any
) -> None:
    """Engines pull KV by number of tokens, not by content: what moves must be what the prompt says."""
    prefill, decode, alone = engines
    conversation = Conversation("changed", TEXT, True, random.Random(4), answer_tokens=80)
    with routed([prefill], [decode], "--placement", "AlwaysRemote") as routers:
        (first,) = await hold(client, routers.url, conversation, rounds=1)
        conversation.prompt[-80:] = [(token + 1) % 90 for token in conversation.prompt[-80:]]
        (second,) = await hold(client, routers.url, conversation, rounds=1)
    await assert_as_one_engine_alone(client, alone, [first, second])

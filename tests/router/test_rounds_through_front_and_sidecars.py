"""Rounds over real sockets: front, decode sidecar, prefill gate, strict fake engines."""

import asyncio

import pytest

from fakes.fleet import Fleet, eventually, running_fleet
from pdscale.model.pools import Role
from pdscale.router.policies import PolicyName

SIX = range(6)


async def converse(fleet: Fleet, *, stream: bool, session: str = "s-1") -> list[str]:
    """Six rounds of one growing conversation; the texts of the answers."""
    messages: list[dict[str, str]] = []
    answers = []
    for i in SIX:
        messages.append({"role": "user", "content": f"round {i} " + "more " * 50})
        reply = await fleet.chat(messages, stream=stream, headers={"X-Session-ID": session})
        assert reply.status == 200, reply.text
        assert "kv_transfer_params" not in reply.text
        answers.append(reply.text)
        messages.append({"role": "assistant", "content": "w0 w1 w2 w3 w4"})
    return answers


# Six short increments on idle replicas: local unless a rule says otherwise.
REMOTE_OF_SIX = {
    PolicyName.COST_BASED: 0,
    PolicyName.AMPD: 6,
    PolicyName.ALWAYS_LOCAL: 0,
    PolicyName.ALWAYS_REMOTE: 6,
    PolicyName.THRESHOLD: 0,
    PolicyName.CONSERVE: 1,
    PolicyName.TABLE: 1,
}


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("policy", list(PolicyName))
async def test_a_session_of_six_rounds_breaks_no_rule_under_any_policy(
    policy: PolicyName, stream: bool
) -> None:
    async with running_fleet(prefill=2, decode=2, policy=policy) as fleet:
        await converse(fleet, stream=stream)
        assert fleet.world.violations == []
        assert sum(e.kinds.count("plain") for e in fleet.engines.values()) == 0
        remote = REMOTE_OF_SIX[policy]
        kinds = [*fleet.engines["d-0"].kinds, *fleet.engines["d-1"].kinds]
        assert kinds == ["decode"] * remote + ["local"] * (6 - remote)


async def test_later_remote_rounds_bring_the_history_to_the_prefill_engine() -> None:
    async with running_fleet() as fleet:
        await converse(fleet, stream=True)
        legs = [s.body["kv_transfer_params"] for s in fleet.engines["p-0"].seen]
        assert legs[0]["remote_block_ids"] is None
        assert all(leg["remote_block_ids"] is not None for leg in legs[1:])
        assert fleet.world.violations == []


def said(*texts: str) -> list[dict[str, str]]:
    """Questions long enough for their KV to be worth moving, and answers."""
    return [
        {"role": ("user", "assistant")[n % 2], "content": text if n % 2 else text.ljust(400, ".")}
        for n, text in enumerate(texts)
    ]


async def test_a_session_that_says_something_else_than_before_gets_none_of_its_history() -> None:
    async with running_fleet(policy=PolicyName.ALWAYS_REMOTE) as fleet:
        for texts in (("one",), ("ONE", "w0", "two"), ("ONE", "w0", "two", "w0", "three")):
            await fleet.chat(said(*texts), headers={"X-Session-ID": "s"})
        legs = [s.body["kv_transfer_params"] for s in fleet.engines["p-0"].seen]
        assert [leg["remote_block_ids"] is not None for leg in legs] == [False, False, True]
        assert fleet.world.violations == []


async def test_a_round_that_ends_after_its_session_spoke_again_leaves_no_history() -> None:
    async with running_fleet(policy=PolicyName.ALWAYS_REMOTE) as fleet:
        engine, named = fleet.engines["d-0"], {"X-Session-ID": "s"}
        engine.gap = 0.2
        slow = asyncio.create_task(fleet.chat(said("taken back"), stream=True, headers=named))
        await eventually(lambda: engine.kinds == ["decode"], what="the first round is being answered")
        engine.gap = 0.0
        assert (await fleet.chat(said("meant"), headers=named)).status == 200
        assert (await slow).status == 200
        await fleet.chat(said("meant", "w0", "more"), headers=named)
        legs = [s.body["kv_transfer_params"] for s in fleet.engines["p-0"].seen]
        assert len(legs) == 3
        history = fleet.world.issued[legs[2]["remote_request_id"]]
        assert history.asked["messages"] == said("meant")
        assert fleet.world.violations == []


async def test_a_local_round_hands_its_history_to_the_next_remote_round() -> None:
    async with running_fleet(policy=PolicyName.ALWAYS_REMOTE) as fleet:
        await fleet.api.apply(fleet.pod("p-0", draining=True))
        decider = fleet.sidecars["d-0"]

        def gone() -> bool:
            view = decider.roster.view(0.0)
            return not any(e.takes_new_work for e in view.of(Role.PREFILL))

        await eventually(gone)
        await fleet.chat(said("one"), headers={"X-Session-ID": "s"})
        assert fleet.engines["d-0"].kinds == ["local"]
        await fleet.api.apply(fleet.pod("p-0"))
        await eventually(lambda: not gone())
        await fleet.chat(said("one", "w0", "two"), headers={"X-Session-ID": "s"})
        leg = fleet.engines["p-0"].seen[0].body["kv_transfer_params"]
        assert leg["remote_block_ids"][0][:3] == [1, 2, 3]
        assert (leg["do_remote_decode"], leg["do_remote_prefill"]) == (True, False)
        assert fleet.world.violations == []


async def test_one_way_transfer_never_offers_history_and_keeps_local_rounds_plain() -> None:
    async with running_fleet(policy=PolicyName.ALWAYS_LOCAL, bidirectional=False) as fleet:
        await converse(fleet, stream=True)
        assert fleet.engines["d-0"].kinds == ["plain"] * 6
        assert fleet.world.violations == []


async def test_the_first_round_of_a_chat_without_a_name_leaves_no_blocks_pinned() -> None:
    async with running_fleet(policy=PolicyName.ALWAYS_LOCAL) as fleet:
        await fleet.chat("hello")
        assert fleet.engines["d-0"].kinds == ["plain"]


async def test_a_chat_without_a_name_that_comes_back_is_a_session_from_then_on() -> None:
    async with running_fleet(policy=PolicyName.ALWAYS_LOCAL, decode=3) as fleet:
        for number in range(5):
            await fleet.chat(said(f"other {number}"))
        for texts in (("one",), ("one", "w0", "two"), ("one", "w0", "two", "w0", "three")):
            await fleet.chat(said(*texts))
        kinds = {name: [s.kind for s in e.seen if "one" in str(s.body)] for name, e in fleet.engines.items()}
        assert sorted(kinds.values())[-1] == ["plain", "local", "local"]
        assert await fleet.metric(fleet.front, 'sessions{place="front"}') == 6


async def test_a_prompt_without_a_name_is_no_session() -> None:
    async with running_fleet(policy=PolicyName.ALWAYS_LOCAL) as fleet:
        body = {"model": "fake", "prompt": "hello", "max_tokens": 5}
        async with fleet.client.post(f"{fleet.url}/v1/completions", json=body) as answer:
            assert answer.status == 200
        assert fleet.engines["d-0"].kinds == ["plain"]
        assert await fleet.metric(fleet.front, 'sessions{place="front"}') == 0


@pytest.mark.parametrize(
    "more",
    [
        pytest.param({"n": 2}, id="several answers"),
        pytest.param({"echo": True}, id="echo"),
        pytest.param({"prompt_logprobs": 1}, id="prompt logprobs"),
    ],
)
async def test_what_cannot_be_split_runs_plainly_on_the_decode_engine(more: dict[str, int]) -> None:
    async with running_fleet() as fleet:
        reply = await fleet.chat(headers={"X-Session-ID": "s"}, **more)
        assert reply.status == 200
        assert fleet.engines["d-0"].kinds == ["plain"]
        assert await fleet.placements("d-0", "local", "NotSplittable") == 1


async def test_what_only_routers_may_set_is_taken_from_clients() -> None:
    async with running_fleet() as fleet:
        reply = await fleet.chat(
            stream=True,
            headers={
                "X-Session-ID": "s",
                "X-Override-Rid": "1",
                "X-Prefiller-Host-Port": "10.9.9.9:80",
                "X-Data-Parallel-Rank": "3",
                "x-pdscale-leg": "prefill",
            },
            kv_transfer_params={"do_remote_prefill": True},
            ec_transfer_params={"a": 1},
            bootstrap_room=7,
            bootstrap_host="10.9.9.9",
        )
        assert reply.status == 200
        assert fleet.world.violations == []
        assert fleet.engines["d-0"].kinds == ["decode"]


@pytest.mark.parametrize("asked", [True, False], ids=["asked", "not asked"])
async def test_the_usage_event_reaches_only_clients_that_asked(asked: bool) -> None:
    async with running_fleet() as fleet:
        options = {"stream_options": {"include_usage": True}} if asked else {}
        reply = await fleet.chat(stream=True, **options)
        assert ("prompt_tokens" in reply.text) is asked
        assert reply.events[-1] == "[DONE]"
        assert len(reply.events) == 5 + 1 + asked
        assert await fleet.metric(fleet.front, 'completed_total{place="front"}') == 1
        assert await fleet.metric(fleet.front, 'output_tokens_total{place="front"}') == 5
        assert await fleet.metric(fleet.front, 'output_tokens_squared_total{place="front"}') == 25


async def test_request_ids_and_other_paths_pass_through() -> None:
    async with running_fleet() as fleet:
        await fleet.chat(headers={"X-Request-Id": "r-7"})
        assert fleet.engines["d-0"].seen[0].headers["X-Request-Id"] == "r-7"
        async with fleet.client.get(f"{fleet.url}/v1/models") as answer:
            assert (await answer.json())["data"] == [{"id": "fake"}]


async def test_sessions_are_named_by_header_then_by_either_field() -> None:
    async with running_fleet(policy=PolicyName.ALWAYS_LOCAL) as fleet:
        await fleet.chat(headers={"X-Session-ID": "a"}, session_id="b", conversation_id="c")
        await fleet.chat(session_id="b", conversation_id="c")
        await fleet.chat(conversation_id="c")
        await fleet.chat(conversation_id="new\nline")
        names = [s.headers["X-Session-ID"] for s in fleet.engines["d-0"].seen]
        assert names[:3] == ["a", "b", "c"]
        assert len(names[3]) == 64
        assert await fleet.metric(fleet.front, 'sessions{place="front"}') == 4


async def test_streams_arrive_event_by_event() -> None:
    async with running_fleet() as fleet:
        fleet.engines["d-0"].gap = 0.05
        body = {"messages": [{"role": "user", "content": "x"}], "stream": True, "max_tokens": 5}
        async with fleet.client.post(f"{fleet.url}/v1/chat/completions", json=body) as answer:
            pieces = [piece async for piece in answer.content.iter_any()]
        assert len(pieces) >= 5


async def test_load_of_a_sidecar_is_told_by_header_and_on_request() -> None:
    async with running_fleet() as fleet:
        sidecar = fleet.sidecars["d-0"]
        reply = await fleet.chat(url=f"http://127.0.0.1:{sidecar.port}")
        assert reply.headers["x-pdscale-load"].startswith("running=1;waiting=2;queued_tokens=0;")
        async with fleet.client.get(f"http://127.0.0.1:{sidecar.admin_port}/load") as answer:
            told = await answer.json()
        assert (told["running"], told["waiting"], told["kv"]) == (1, 2, 0.25)
        through_front = await fleet.chat()
        assert "x-pdscale-load" not in through_front.headers

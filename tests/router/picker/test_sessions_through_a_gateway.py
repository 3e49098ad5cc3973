"""Rounds through a gateway whose endpoint picker is the front: sessions stay where their KV is."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from fakes.fleet import Fleet, converse, eventually, running_fleet
from fakes.gateway import Gateway, gateway_of, headers_of
from pdscale.model.pools import Role
from pdscale.router.policies import PolicyName

PICKER = {"endpoint_picker_port": 0}


@asynccontextmanager
async def behind_a_gateway(**settings: Any) -> AsyncIterator[tuple[Fleet, Gateway]]:
    settings = {"decode": 3, "policy": PolicyName.ALWAYS_LOCAL, **settings}
    async with running_fleet(of_fronts=PICKER, **settings) as fleet, gateway_of(fleet) as gateway:
        yield fleet, gateway


def counts(fleet: Fleet) -> list[int]:
    """Requests by engine, the most first."""
    return sorted((len(e.seen) for n, e in fleet.engines.items() if n.startswith("d-")), reverse=True)


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize(
    "named",
    [
        pytest.param({"headers": {"x-session-id": "s"}}, id="by a header"),
        pytest.param({"session_id": "s"}, id="by the body"),
        pytest.param({}, id="by what was said before"),
    ],
)
async def test_all_rounds_of_a_session_go_to_one_replica(named: dict[str, Any], stream: bool) -> None:
    async with behind_a_gateway() as (fleet, gateway):
        await converse(gateway.chat, rounds=5, stream=stream, **named)
        assert counts(fleet) == [5, 0, 0]
        assert fleet.world.violations == []


async def test_sessions_of_one_instant_spread_over_replicas() -> None:
    async with behind_a_gateway() as (fleet, gateway):
        for name in "abcdef":
            await converse(gateway.chat, rounds=2, name=name)
        assert counts(fleet) == [4, 4, 4]


async def test_a_session_is_the_same_one_on_both_ports_of_the_front() -> None:
    async with behind_a_gateway() as (fleet, gateway):
        for i in range(6):
            chat = (gateway.chat, fleet.chat)[i % 2]
            reply = await chat([{"role": "user", "content": "x"}], headers={"x-session-id": "s"})
            assert reply.status == 200
        assert counts(fleet) == [6, 0, 0]


async def test_a_draining_replica_is_left_and_a_vanished_one_too() -> None:
    async with behind_a_gateway(decode=2) as (fleet, gateway):
        messages = await converse(gateway.chat, rounds=2, headers={"x-session-id": "s"})
        (held,) = (n for n, e in fleet.engines.items() if len(e.seen) == 2)
        await fleet.api.apply(fleet.pod(held, draining=True))

        def drains() -> bool:
            return all(e.name != held or e.draining for e in fleet.front.roster.view(0.0).of(Role.DECODE))

        await eventually(drains, what="the drain")
        for _ in range(2):
            assert (await gateway.chat(messages, headers={"x-session-id": "s"})).status == 200
        assert counts(fleet) == [2, 2]


async def test_what_a_gateway_could_not_reach_is_passed_over() -> None:
    async with behind_a_gateway(decode=2) as (_, gateway):
        body = {"messages": [{"role": "user", "content": "x"}]}
        async with gateway.call() as call:
            await call.head({"x-session-id": "s"})
            await call.body(json.dumps(body).encode())
            first = (await call.hear()).request_headers.response.header_mutation
            await call.hear()
            await call.answered(503)  # the gateway's own: no sidecar's load in it
            await call.hear()
        found = await gateway.pick(body, pairs={"x-session-id": "s"})
        assert found.address not in str(first)


async def test_a_request_that_was_served_elsewhere_moves_its_session_there() -> None:
    async with behind_a_gateway(decode=2) as (fleet, gateway):
        body = {"messages": [{"role": "user", "content": "x"}]}
        addresses = {f"127.0.0.1:{fleet.sidecars[name].port}" for name in ("d-0", "d-1")}
        async with gateway.call() as call:
            await call.head({"x-session-id": "s"})
            await call.body(json.dumps(body).encode())
            said = (await call.hear()).dynamic_metadata["envoy.lb"]["x-gateway-destination-endpoint"]
            await call.hear()
            (other,) = addresses - {said}
            served = {"envoy.lb": {"x-gateway-destination-endpoint-served": other}}
            await call.say(served, response_headers=headers_of({":status": "200"}, ends=True))
            await call.hear()
        assert (await gateway.pick(body, pairs={"x-session-id": "s"})).address == other


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
async def test_the_front_s_series_tell_of_rounds_through_a_gateway_as_of_its_own(stream: bool) -> None:
    async with behind_a_gateway() as (fleet, gateway):
        series = (
            'requests_total{code="200",place="front"}',
            'prompt_tokens_total{place="front"}',
            'output_tokens_total{place="front"}',
            'slo_requests_total{met="true",place="front",slo="ttft"}',
        )
        await converse(fleet.chat, rounds=3, stream=stream)
        own = [await fleet.metric(fleet.front, name) for name in series]
        await converse(gateway.chat, rounds=3, name="two", stream=stream)
        assert own[:3] == [3, own[1], own[2]]
        assert own[1] > 0
        assert [await fleet.metric(fleet.front, name) for name in series] == [2 * n for n in own]
        assert await fleet.metric(fleet.front, 'inflight_requests{place="front"}') == 0


async def test_clients_see_the_usage_that_they_asked_for_and_no_other() -> None:
    async with behind_a_gateway() as (_, gateway):
        message = [{"role": "user", "content": "x"}]
        plain = await gateway.chat(message, stream=True)
        asked = await gateway.chat(message, stream=True, stream_options={"include_usage": True})
        assert '"prompt_tokens"' not in plain.text
        assert '"prompt_tokens"' in asked.text
        assert not any(name.startswith("x-pdscale-") for name in (*plain.headers, *asked.headers))

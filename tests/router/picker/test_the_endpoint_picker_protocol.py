"""The picker's side of the Endpoint Picker Protocol, message by message over gRPC."""

import json
from typing import Any

import pytest
from envoy.service.ext_proc.v3 import external_processor_pb2 as ext_proc

from fakes.gateway import BODY, DESTINATION, ROUND, Gateway, destination, picked
from pdscale.model.cluster import Load
from pdscale.router.picker import messages as m

SUBSET = "x-gateway-destination-endpoint-subset"


async def test_the_destination_is_said_by_a_header_and_by_metadata(gateway: Gateway) -> None:
    found = await gateway.pick(ROUND)
    assert found.address in gateway.addresses
    assert found.metadata == {"envoy.lb": {DESTINATION: found.address}}


async def test_a_session_s_name_goes_on_and_what_only_routers_may_say_does_not(gateway: Gateway) -> None:
    internal = {
        "x-pdscale-leg": "prefill",
        "x-prefiller-host-port": "10.0.0.1:80",
        DESTINATION: "10.0.0.1:80",
    }
    found = await gateway.pick(ROUND, pairs={"x-session-id": "s", "accept": "*/*", **internal})
    assert found.set_headers["x-session-id"] == "s"
    assert set(found.removed) == {"x-pdscale-leg", "x-prefiller-host-port"}
    assert found.address in gateway.addresses


async def test_a_request_without_a_body_is_picked_by_its_head(gateway: Gateway) -> None:
    found = await gateway.pick(method="GET", path="/v1/models")
    assert found.address in gateway.addresses
    assert found.pieces == []


@pytest.mark.parametrize("size", [1, 61_440, 61_441, 200_000])
async def test_a_body_comes_back_whole_in_pieces_that_gateways_take(gateway: Gateway, size: int) -> None:
    body = json.dumps({**ROUND, "messages": [{"role": "user", "content": "x" * size}]}).encode()
    async with gateway.call() as call:
        await call.head()
        for start in range(0, len(body), 10_000):
            await call.body(body[start : start + 10_000], ends=False)
        await call.body(b"", ends=True)
        found = await picked(call)
    assert found.content == body
    assert max(map(len, found.pieces)) <= 64 * 1024


async def test_trailers_after_a_body_end_it(gateway: Gateway) -> None:
    async with gateway.call() as call:
        await call.head()
        await call.body(BODY, ends=False)
        await call.say(request_trailers=ext_proc.HttpTrailers())
        assert (await call.hear()).WhichOneof("response") == "request_headers"
        piece = (await call.hear()).request_body.response.body_mutation.streamed_response
        assert (piece.body, piece.end_of_stream) == (BODY, False)
        assert (await call.hear()).WhichOneof("response") == "request_trailers"


async def test_a_buffered_body_is_answered_with_the_destination(gateway: Gateway) -> None:
    async with gateway.call(m.BUFFERED, m.BUFFERED) as call:
        await call.head()
        first = (await call.hear()).request_headers
        assert not first.response.header_mutation.set_headers
        await call.body(json.dumps({**ROUND, "session_id": "s"}).encode())
        said = await call.hear()
        found = destination(said, said.request_body.response.header_mutation)
        assert (found.address in gateway.addresses, found.set_headers["x-session-id"]) == (True, "s")
        await call.answered(200, ends=False)
        assert (await call.hear()).WhichOneof("response") == "response_headers"
        await call.say(response_body=ext_proc.HttpBody(body=b"{}", end_of_stream=True))
        assert not (await call.hear()).response_body.response.HasField("body_mutation")


@pytest.mark.parametrize("mode", [m.NONE, m.Mode.STREAMED], ids=["not shown", "streamed one way"])
async def test_where_the_head_leaves_first_its_header_names_the_session(gateway: Gateway, mode: int) -> None:
    found = []
    for _ in range(4):
        async with gateway.call(mode, m.NONE) as call:
            await call.head({"x-session-id": "s"})
            said = await call.hear()
            found.append(destination(said, said.request_headers.response.header_mutation).address)
            if mode != m.NONE:
                await call.body(BODY)
                assert (await call.hear()).WhichOneof("response") == "request_body"
            await call.answered(200, ends=False)
            assert (await call.hear()).WhichOneof("response") == "response_headers"
    await gateway.closed()
    assert await gateway.fleet.metric(gateway.fleet.front, 'requests_total{code="200",place="front"}') == 4
    assert len(set(found)) == 1


@pytest.mark.parametrize("as_list", [True, False], ids=["list", "text"])
async def test_only_endpoints_of_the_subset_are_picked(gateway: Gateway, as_list: bool) -> None:
    for wanted in gateway.addresses:
        told = [wanted, "10.9.9.9:8080"]
        hint = {"envoy.lb.subset_hint": {SUBSET: told if as_list else ",".join(told)}}
        for _ in range(2):
            found = await gateway.pick(ROUND, pairs={"x-session-id": "s"}, metadata=hint)
            assert found.address == wanted


async def test_without_an_endpoint_in_the_subset_the_client_is_told_to_try_again(gateway: Gateway) -> None:
    hint: dict[str, dict[str, Any]] = {"envoy.lb.subset_hint": {SUBSET: ["10.9.9.9:8080"]}}
    refused = (await gateway.pick(ROUND, metadata=hint)).refused
    headers = {h.header.key: h.header.raw_value for h in refused.headers.set_headers}
    assert (refused.status.code, headers["retry-after"]) == (503, b"1")
    assert json.loads(refused.body)["error"]["type"] == "NoDecodeReplica"
    failed = 'slo_requests_total{met="false",place="front",slo="both"}'
    assert await gateway.fleet.metric(gateway.fleet.front, failed) == 1


async def test_new_sessions_are_shed_while_all_replicas_are_full_and_have_a_queue(gateway: Gateway) -> None:
    fleet = gateway.fleet
    known = await gateway.pick(ROUND, pairs={"x-session-id": "known"})
    full = Load(running=8, waiting=3, kv_usage=0.97, seen_at=1e9)  # as if told later than anything else
    for name in ("d-0", "d-1"):
        fleet.front.roster.heard(name, full)
    assert (await gateway.pick(ROUND, pairs={"x-session-id": "new"})).refused.status.code == 429
    assert (await gateway.pick(ROUND, pairs={"x-session-id": "known"})).address == known.address
    fleet.front.roster.heard("d-1", Load(running=8, waiting=0, kv_usage=0.97, seen_at=2e9))
    assert (await gateway.pick(ROUND, pairs={"x-session-id": "new"})).address == gateway.addresses[1]

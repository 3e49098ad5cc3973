"""What is refused, who leaves, what comes out of turn: nothing stays open, and everybody is told."""

import asyncio
from typing import Any

import grpc.aio
import pytest
from envoy.service.ext_proc.v3 import external_processor_pb2 as ext_proc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from fakes.fleet import eventually
from fakes.gateway import BODY, LARGEST, Gateway, picked

SAID = "(request|response)_headers must come|must be of a request or of a response, got None"


@pytest.mark.parametrize(
    ("head", "body", "status"),
    [
        pytest.param({}, b"{", 400, id="no JSON"),
        pytest.param({}, b'{"x": "%b"}' % (b"x" * LARGEST), 413, id="too large"),
        pytest.param({"path": "/metrics"}, BODY, 404, id="a path that is not served"),
        pytest.param({"path": "/v1/../metrics"}, BODY, 400, id="a path that climbs"),
    ],
)
async def test_what_the_front_refuses_is_refused_here(
    gateway: Gateway, head: dict[str, Any], body: bytes, status: int
) -> None:
    assert (await gateway.pick(body, **head)).refused.status.code == status
    await gateway.closed()
    ended = f'requests_total{{code="{status}",place="front"}}'
    assert await gateway.fleet.metric(gateway.fleet.front, ended) == 1


@pytest.mark.parametrize("at", ["head", "half a body", "picked", "answer", "half an answer"])
async def test_a_client_that_leaves_leaves_nothing_open(gateway: Gateway, at: str) -> None:
    fleet = gateway.fleet
    async with gateway.call() as call:
        await call.head({"x-session-id": "s"})
        if at != "head":
            await call.body(BODY, ends=at != "half a body")
        if at in ("picked", "answer", "half an answer"):
            await picked(call)
        if at in ("answer", "half an answer"):
            await call.answered(200, {"content-type": "text/event-stream"}, ends=False)
            await call.hear()
        if at == "half an answer":
            await call.say(response_body=ext_proc.HttpBody(body=b'data: {"choices":[]}\n\n'))
            await call.hear()
        async with asyncio.timeout(30):
            while not await gateway.open():
                pass
    await gateway.closed()
    assert await fleet.metric(fleet.front, 'requests_total{code="499",place="front"}') == 1


async def test_an_answer_of_the_gateway_itself_passes(gateway: Gateway) -> None:
    async with gateway.call() as call:
        await call.head()
        await call.body(b"{", ends=False)
        await call.answered(408, {"content-type": "text/plain"}, ends=False)
        assert (await call.hear()).WhichOneof("response") == "response_headers"
        await call.say(response_body=ext_proc.HttpBody(body=b"too late", end_of_stream=True))
        piece = (await call.hear()).response_body.response.body_mutation.streamed_response
        assert (piece.body, piece.end_of_stream) == (b"too late", True)


async def test_trailers_of_an_answer_are_acknowledged(gateway: Gateway) -> None:
    async with gateway.call() as call:
        await call.head()
        await call.body(BODY)
        await picked(call)
        await call.answered(200, ends=False)
        await call.hear()
        await call.say(response_trailers=ext_proc.HttpTrailers())
        assert (await call.hear()).WhichOneof("response") == "response_trailers"
        assert await call.hear() is None


@pytest.mark.parametrize("message", ["request_body", "response_headers", "response_body", "nothing"])
async def test_a_message_out_of_turn_ends_the_call_with_its_name(gateway: Gateway, message: str) -> None:
    async with gateway.call() as call:
        further = {} if message == "nothing" else {message: {}}
        await call.say(**further)
        with pytest.raises(grpc.aio.AioRpcError, match=SAID) as caught:
            await call.hear()
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    await gateway.closed()


async def test_health_is_the_router_s_own(gateway: Gateway) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{gateway.fleet.front.picker_port}") as channel:
        ask = health_pb2_grpc.HealthStub(channel).Check

        async def status(service: str) -> str:
            told = await ask(health_pb2.HealthCheckRequest(service=service))
            return str(health_pb2.HealthCheckResponse.ServingStatus.Name(told.status))

        services = ("", "liveness", "readiness", "envoy.service.ext_proc.v3.ExternalProcessor")
        assert [await status(service) for service in services] == ["SERVING"] * 4
        for name in ("d-0", "d-1"):
            await gateway.fleet.api.apply(gateway.fleet.pod(name, draining=True))
        roster = gateway.fleet.front.roster
        await eventually(lambda: not any(e.takes_new_work for e in roster.view(0.0).endpoints))
        assert [await status(service) for service in services] == [
            "NOT_SERVING",
            "SERVING",
            *["NOT_SERVING"] * 2,
        ]
        with pytest.raises(grpc.aio.AioRpcError, match="there is no service x"):
            await status("x")

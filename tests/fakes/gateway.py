"""A gateway with an endpoint picker, as Envoy's ext_proc filter behaves: over gRPC to the picker, then on to
the replica that was picked. ``Call`` is the picker's side alone, message by message."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import grpc.aio
from envoy.service.ext_proc.v3 import external_processor_pb2 as ext_proc
from envoy.service.ext_proc.v3 import external_processor_pb2_grpc as ext_proc_grpc

from fakes.fleet import Fleet, Reply
from pdscale.router.picker import messages as m

DESTINATION = "x-gateway-destination-endpoint"
CHAT = "/v1/chat/completions"
ROUND = {"model": "fake", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 2}
BODY = json.dumps(ROUND).encode()
LARGEST = 300_000


def headers_of(pairs: Mapping[str, str], *, ends: bool) -> Any:
    found = ext_proc.HttpHeaders(end_of_stream=ends)
    for name, value in pairs.items():
        found.headers.headers.add(key=name, raw_value=value.encode())
    return found


@dataclass
class Call:
    """One request's stream to the picker."""

    stream: Any
    modes: tuple[int, int] = (m.FULL_DUPLEX, m.FULL_DUPLEX)
    first: bool = True

    async def say(self, metadata: Mapping[str, Mapping[str, Any]] | None = None, **message: Any) -> None:
        request = ext_proc.ProcessingRequest(**message)
        if self.first:
            request.protocol_config.request_body_mode, request.protocol_config.response_body_mode = self.modes
            self.first = False
        for namespace, values in (metadata or {}).items():
            request.metadata_context.filter_metadata[namespace].update(values)
        await self.stream.write(request)

    async def head(
        self,
        pairs: Mapping[str, str] | None = None,
        *,
        method: str = "POST",
        path: str = CHAT,
        ends: bool = False,
        metadata: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        told = {":method": method, ":path": path, ":authority": "gateway", **(pairs or {})}
        await self.say(metadata, request_headers=headers_of(told, ends=ends))

    async def body(self, content: bytes, *, ends: bool = True) -> None:
        await self.say(request_body=ext_proc.HttpBody(body=content, end_of_stream=ends))

    async def answered(
        self, status: int, pairs: Mapping[str, str] | None = None, *, ends: bool = True
    ) -> None:
        await self.say(response_headers=headers_of({":status": str(status), **(pairs or {})}, ends=ends))

    async def hear(self) -> Any:
        """What is said next; ``None`` at the end."""
        found = await self.stream.read()
        return None if found is grpc.aio.EOF else found


@dataclass
class Picked:
    """What became of a request's head and body."""

    address: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
    set_headers: dict[str, str] = field(default_factory=dict)
    removed: tuple[str, ...] = ()
    pieces: list[bytes] = field(default_factory=list)
    refused: Any = None

    @property
    def content(self) -> bytes:
        return b"".join(self.pieces)


@dataclass
class Gateway:
    fleet: Fleet
    stub: Any

    @property
    def addresses(self) -> list[str]:
        """Of the decode replicas, by name."""
        return [f"127.0.0.1:{r.port}" for name, r in self.fleet.sidecars.items() if name.startswith("d-")]

    async def open(self) -> float:
        """Requests that the front counts as open."""
        return await self.fleet.metric(self.fleet.front, 'inflight_requests{place="front"}')

    async def closed(self) -> None:
        """Wait until there are none."""
        async with asyncio.timeout(30):
            while await self.open():
                pass

    @asynccontextmanager
    async def call(self, *modes: int) -> AsyncIterator[Call]:
        stream = self.stub.Process()
        try:
            yield Call(stream, modes) if modes else Call(stream)  # type: ignore[arg-type]
        finally:
            stream.cancel()

    async def pick(self, body: Mapping[str, Any] | bytes = b"", **head: Any) -> Picked:
        """Who gets this request; the client leaves then."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        async with self.call() as call:
            await call.head(**head, ends=not content)
            if content:
                await call.body(content)
            return await picked(call, has_body=bool(content))

    async def chat(self, messages: Sequence[Mapping[str, str]], **more: Any) -> Reply:
        """One round as a client of the gateway sees it."""
        headers = more.pop("headers", {})
        body = {"model": "fake", "messages": list(messages), "max_tokens": 5, **more}
        async with self.call() as call:
            await call.head({"content-type": "application/json", **headers})
            await call.body(json.dumps(body).encode())
            found = await picked(call)
            if found.refused is not None:
                said = found.refused
                told = {h.header.key: h.header.raw_value.decode() for h in said.headers.set_headers}
                return Reply(said.status.code, told, said.body.decode())
            passed = {**{n: v for n, v in headers.items() if n not in found.removed}, **found.set_headers}
            url = f"http://{found.address}{CHAT}"
            async with self.fleet.client.post(url, data=found.content, headers=passed) as answer:
                return await self._passed_on(call, answer)

    async def _passed_on(self, call: Call, answer: aiohttp.ClientResponse) -> Reply:
        pairs = {name.lower(): value for name, value in answer.headers.items()}
        await call.answered(answer.status, pairs, ends=False)
        removed = (await call.hear()).response_headers.response.header_mutation.remove_headers
        async for piece in answer.content.iter_any():
            await call.say(response_body=ext_proc.HttpBody(body=piece))
        await call.say(response_body=ext_proc.HttpBody(end_of_stream=True))
        text, ended = b"", False
        while not ended:
            piece = (await call.hear()).response_body.response.body_mutation.streamed_response
            text, ended = text + piece.body, piece.end_of_stream
        assert await call.hear() is None
        return Reply(answer.status, {n: v for n, v in pairs.items() if n not in removed}, text.decode())


async def picked(call: Call, *, has_body: bool = True) -> Picked:
    """Read up to the last piece of the body, or the refusal."""
    said = await call.hear()
    if said.WhichOneof("response") == "immediate_response":
        return Picked(refused=said.immediate_response)
    found = destination(said, said.request_headers.response.header_mutation)
    ended = not has_body
    while not ended:
        piece = (await call.hear()).request_body.response.body_mutation.streamed_response
        found.pieces.append(piece.body)
        ended = piece.end_of_stream
    return found


def destination(said: Any, mutation: Any) -> Picked:
    headers = {h.header.key: h.header.raw_value.decode() for h in mutation.set_headers}
    metadata = {name: dict(space.items()) for name, space in said.dynamic_metadata.items()}
    return Picked(headers.get(DESTINATION, ""), metadata, headers, tuple(mutation.remove_headers))


@asynccontextmanager
async def gateway_of(fleet: Fleet) -> AsyncIterator[Gateway]:
    """In front of a fleet whose front has ``endpoint_picker_port``."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{fleet.front.picker_port}") as channel:
        yield Gateway(fleet, ext_proc_grpc.ExternalProcessorStub(channel))

"""A metrics server over a real socket, with programmable answers and programmable misbehaviour.

    async with FakePrometheus() as server:
        server.measures["request_rate"] = 4.0                     # the same at every instant
        server.measures["completed"] = lambda t: None if t < 60 else 3.5
        server.fault = Status(503)

A measure that is not set is a missing series; ``None`` at an instant is a missing sample, NaN is the
server saying ``NaN``. It does not read PromQL: it answers any range query with all its measures, each
labelled ``measure``, and any instant query with ``instant`` or with ``vector``. ``clock`` is what its
``Date`` says; without one it has none.
"""

import asyncio
import json
import math
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

Measure = float | Callable[[float], float | None]


@dataclass(frozen=True, slots=True)
class Status:
    """Answer with this HTTP status and an error document."""

    code: int


@dataclass(frozen=True, slots=True)
class Slow:
    """Say nothing for so long, then answer."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Drip:
    """Send the answer byte by byte, with so long a pause after each."""

    seconds: float


@dataclass(frozen=True, slots=True)
class CutOff:
    """Announce the whole answer, send half of it, hang up."""


@dataclass(frozen=True, slots=True)
class Body:
    """A status of 200 and these bytes."""

    content: bytes


Fault = Status | Slow | Drip | CutOff | Body


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it came; parameters of the address, or of a form."""

    path: str
    parameters: dict[str, str]
    headers: dict[str, str]
    method: str = "GET"


@dataclass
class FakePrometheus:
    measures: dict[str, Measure] = field(default_factory=dict)
    instant: float | None = None
    fault: Fault | None = None
    asked: list[Asked] = field(default_factory=list)
    url: str = ""
    no_forms: int | None = None  # the status by which it refuses a POST
    clock: Callable[[], float] | None = None
    head: str = ""  # further lines of each answer's head
    tls: ssl.SSLContext | None = None
    vector: list[dict[str, Any]] | None = None
    whole: Callable[[list[dict[str, Any]]], list[dict[str, Any]]] = list  # spoils a matrix before it is sent

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self.tls)
        host, port = self._server.sockets[0].getsockname()[:2]
        self.url = f"http{'s' if self.tls else ''}://{host}:{port}"
        self._open: set[asyncio.Task[None]] = set()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            await self._answer(await _request(reader), writer)
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass  # The client left, which is its right.
        finally:
            self._open.discard(task)
            writer.close()

    async def _answer(self, asked: Asked, writer: asyncio.StreamWriter) -> None:
        self.asked.append(asked)
        if asked.method == "POST" and self.no_forms is not None:
            writer.write(self._head(self.no_forms, b"refused") + b"refused")
            return await writer.drain()
        body = json.dumps(self._document(asked)).encode()
        fault = self.fault
        match fault:
            case Status(code):
                writer.write(self._head(code, b"refused") + b"refused")
            case Slow(seconds):
                await asyncio.sleep(seconds)
                writer.write(self._head(200, body) + body)
            case Drip(seconds):
                writer.write(self._head(200, body))
                for byte in body:
                    writer.write(bytes([byte]))
                    await writer.drain()
                    await asyncio.sleep(seconds)
            case CutOff():
                writer.write(self._head(200, body) + body[: len(body) // 2])
            case Body(content):
                writer.write(self._head(200, content) + content)
            case None:
                writer.write(self._head(200, body) + body)
        await writer.drain()

    def _head(self, code: int, body: bytes) -> bytes:
        date = "" if self.clock is None else f"Date: {formatdate(self.clock(), usegmt=True)}\r\n"
        return (
            f"HTTP/1.1 {code} X\r\nContent-Type: application/json\r\n{date}{self.head}"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        ).encode()

    def _document(self, asked: Asked) -> dict[str, Any]:
        if asked.path.endswith("/query_range"):
            return _success("matrix", self.whole(self._matrix(asked.parameters)))
        if self.vector is not None:
            return _success("vector", self.vector)
        vector = [] if self.instant is None else [{"metric": {}, "value": [0, _text(self.instant)]}]
        return _success("vector", vector)

    def _matrix(self, parameters: dict[str, str]) -> list[dict[str, Any]]:
        start, end = float(parameters["start"]), float(parameters["end"])
        step = float(parameters["step"])
        instants = [start + i * step for i in range(math.floor((end - start) / step) + 1)]
        matrix = []
        for name, measure in self.measures.items():
            values = [(t, measure(t) if callable(measure) else measure) for t in instants]
            known = [[t, _text(v)] for t, v in values if v is not None]
            if known:
                matrix.append({"metric": {"measure": name}, "values": known})
        return matrix


async def _request(reader: asyncio.StreamReader) -> Asked:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    line, *rest = head.rstrip().split("\r\n")
    target = urlsplit(line.split(" ")[1])
    headers = {name.lower(): value for name, value in (h.split(": ", 1) for h in rest)}
    form = (await reader.readexactly(int(headers.get("content-length", 0)))).decode()
    parameters = {name: values[0] for name, values in parse_qs(target.query or form).items()}
    return Asked(target.path, parameters, headers, line.split(" ")[0])


def _success(kind: str, result: list[dict[str, Any]]) -> dict[str, Any]:
    return {"status": "success", "data": {"resultType": kind, "result": result}}


def _text(value: float) -> str:
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return "NaN" if math.isnan(value) else repr(value)

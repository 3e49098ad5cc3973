"""CPU time of a router's own code, per request and per token, without sockets (``memory``).

The figures say what a change to the code is worth, and how far above a *floor* (``floors``) the code is; the
share of kernel and event loop, which is the larger one, is in the table that is measured over sockets.

Requests go one after another. Each cell is timed in several goes; the least counts, since whatever disturbs
adds time and never takes any.
"""

import argparse
import asyncio
import gc
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

from benchmarks.router import floors
from benchmarks.router.memory import HOST, MemoryLoop, tape
from benchmarks.router.messages import chat, request, spliced
from benchmarks.rows import Row
from pdscale.router.app import Router
from pdscale.router.arguments import parse_settings

_SESSIONS: Final = 32
_GOES: Final = 50
_TOKENS: Final = 64
_START: Final = b"HTTP/1.1 "
_LAST_CHUNK: Final = b"0\r\n\r\n"
_PREFILL, _DECODE, _FRONT, _SIDECAR, _GATE = range(1, 6)  # ports of this network
_KEPT: Final = b'"kv_transfer_params":{"do_remote_decode":true,"do_remote_prefill":false},'
_LEG: Final = b"x-pdscale-leg: prefill\r\nx-pdscale-uncached-tokens: 40\r\n"

Start = Callable[[MemoryLoop], Awaitable[Sequence[Router]]]


@dataclass(frozen=True, slots=True)
class Place:
    """``start`` listens at ``port``. ``split``: requests are answered by both engines. ``leg``: requests are
    prefill legs."""

    name: str
    port: int
    start: Start
    split: bool = False
    leg: bool = False


def _ours(place: str, port: int, peers: str, *more: str) -> list[str]:
    listen = ("--host", HOST, "--port", str(port), "--admin-port", str(port + 100))
    return ["--place", place, *listen, "--static-endpoints", peers, *more]


def _peer(role: str, name: str, port: int) -> str:
    return f"{role}={name}={HOST}:{port}:{port + 100}"


def _front(behind: int) -> list[str]:
    return _ours("front", _FRONT, _peer("decode", "d0", behind))


def _sidecar(placement: str, *, prefill: int = 0, transfer: str = "bidirectional") -> list[str]:
    peers = [_peer("decode", "d0", _SIDECAR), *([_peer("prefill", "p0", prefill)] if prefill else [])]
    engine = ("--pod-name", "d0", "--engine-url", f"http://{HOST}:{_DECODE}", "--kv-transfer", transfer)
    return _ours("sidecar", _SIDECAR, ",".join(peers), *engine, "--placement", placement)


def _gate() -> list[str]:
    engine = ("--pod-name", "p0", "--engine-url", f"http://{HOST}:{_PREFILL}", "--placement", "AlwaysRemote")
    return _ours("sidecar", _GATE, _peer("prefill", "p0", _GATE), *engine)


async def _routers(arguments: Sequence[Sequence[str]], loop: MemoryLoop) -> Sequence[Router]:
    started = []
    for each in arguments:
        router = Router(parse_settings(each))
        await router.start()
        started.append(router)
    return started


async def _floor(kind: str, loop: MemoryLoop) -> Sequence[Router]:
    engine, prefill = floors.Engine(_DECODE), floors.Engine(_PREFILL)
    client = partial(floors.Plain, engine) if kind == "plain" else partial(floors.Split, engine, prefill)
    await loop.create_server(client, HOST, _FRONT)
    return ()


def _of(*arguments: Sequence[str]) -> Start:
    return partial(_routers, arguments)


PLACES: Final = (
    Place("floor-plain", _FRONT, partial(_floor, "plain")),
    Place("ours-front", _FRONT, _of(_front(_DECODE))),
    Place("ours-sidecar", _SIDECAR, _of(_sidecar("AlwaysLocal", transfer="one-way"))),
    Place("ours-local", _SIDECAR, _of(_sidecar("AlwaysLocal"))),
    Place("ours-gate", _GATE, _of(_gate()), leg=True),
    Place("floor-split", _FRONT, partial(_floor, "split"), split=True),
    Place("ours-pd", _SIDECAR, _of(_sidecar("AlwaysRemote", prefill=_PREFILL)), split=True),
    Place(
        "ours-pd-path",
        _FRONT,
        _of(_gate(), _sidecar("AlwaysRemote", prefill=_GATE), _front(_SIDECAR)),
        split=True,
    ),
)


def rows(names: Sequence[str] = (), *, requests: int = 400) -> Iterator[Row]:
    """``requests`` in each go; streams are a twentieth as many."""
    for place in PLACES:
        if names and place.name not in names:
            continue
        for stream in (False, True):
            if not (stream and place.leg):
                yield _row(place, requests // 20 if stream else requests, stream=stream)


def _row(place: Place, requests: int, *, stream: bool) -> Row:
    units, unit = (_TOKENS, "token") if stream else (1, "request")
    with asyncio.Runner(loop_factory=MemoryLoop) as runner:
        seconds = runner.run(_timed(place, requests, stream=stream))
    micros = seconds / (requests * units) * 1e6
    return Row(f"own CPU time per {unit}, {place.name}", micros, "us", f"in memory, least of {_GOES}")


async def _timed(place: Place, requests: int, *, stream: bool) -> float:
    """Seconds of CPU for so many."""
    async with clients(place, stream=stream) as ask:
        await ask(3 * _SESSIONS)
        gc.collect()
        gc.freeze()
        gc.disable()  # requests leave hardly any cycles; a collection would be in one go only
        try:
            return min([used async for used in _goes(ask, requests)])
        finally:
            gc.enable()


async def _goes(ask: Callable[[int], Awaitable[None]], requests: int) -> AsyncIterator[float]:
    for _ in range(_GOES):
        began = time.process_time()
        await ask(requests)
        yield time.process_time() - began


@asynccontextmanager
async def clients(place: Place, *, stream: bool) -> AsyncIterator[Callable[[int], Awaitable[None]]]:
    """Some clients of one session each: ``await ask(n)`` sends n requests in turn and sees each answered."""
    loop = asyncio.get_running_loop()
    if not isinstance(loop, MemoryLoop):
        raise TypeError("this needs a loop without sockets")
    last = _LAST_CHUNK if stream else b"}"
    bodies = [_request(f"s{n}", stream=stream, leg=place.leg) for n in range(_SESSIONS)]
    loop.engines = await _engines(bodies[0], place, last=last)
    routers = await place.start(loop)
    try:
        yield partial(_ask, loop, [await _Client.of(loop, place.port, body, last) for body in bodies])
    finally:
        for router in routers:
            await router.stop()


async def _engines(message: bytes, place: Place, *, last: bytes) -> dict[int, Sequence[bytes]]:
    plain = place.name in ("floor-plain", "ours-front", "ours-sidecar")
    asked = message if plain or place.leg else spliced(message, _KEPT)
    leg = spliced(message.replace(b'"stream":true', b'"stream":false'), _KEPT)
    return {
        _PREFILL: await tape("prefill", leg, last=b"}"),
        _DECODE: await tape("decode", asked, last=last),
    }


def _request(session: str, *, stream: bool, leg: bool) -> bytes:
    message = request(chat(size=166, stream=stream, tokens=_TOKENS if stream else 8), session)
    return message.replace(b"Content-Length:", _LEG + b"Content-Length:") if leg else message


class _Client(asyncio.Protocol):
    def __init__(self, request: bytes, last: bytes) -> None:
        self._request, self._last = request, last
        self.answered = True
        self.statuses: set[bytes] = set()

    @classmethod
    async def of(cls, loop: MemoryLoop, port: int, request: bytes, last: bytes) -> "_Client":
        _, client = await loop.create_connection(lambda: cls(request, last), HOST, port)
        return client  # type: ignore[no-any-return]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if data.endswith(self._last):
            self.answered = True
        if data.startswith(_START):
            self.statuses.add(data[len(_START) :][:3])

    def ask(self) -> None:
        self.answered = False
        self._transport.write(self._request)  # type: ignore[attr-defined]


async def _ask(loop: MemoryLoop, clients: Sequence[_Client], requests: int) -> None:
    """Raises ``RuntimeError`` if an answer was no good one, whose time would mean nothing."""
    for client in _in_turn(clients, requests):
        client.ask()
        while not client.answered:
            if not loop.carry():
                await asyncio.sleep(0)
    if any(client.statuses - {b"200"} for client in clients):
        raise RuntimeError(f"answers must have status 200, got {[c.statuses for c in clients]}")


def _in_turn(clients: Sequence[_Client], requests: int) -> Iterator[_Client]:
    for number in range(requests):
        yield clients[number % len(clients)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("places", nargs="*")
    for row in rows(parser.parse_args().places):
        print(f"{row.metric:45} {row.value:7.2f} {row.unit}", flush=True)
    sys.exit(0)

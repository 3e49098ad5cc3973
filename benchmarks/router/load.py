"""Clients on bare protocols: kept-alive connections that ask again as soon as they have been answered.

A client measures the first token, and each token's *transit*: its arrival against the time that the engine
wrote into it. A gap that the engine did not make is a transit longer than that of the token before.
"""

import asyncio
import re
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import monotonic_ns
from typing import Final

import orjson

from benchmarks.router.connection import LoadFailed, Wire, dial
from benchmarks.router.messages import spliced

STALL_NS: Final = 10_000_000
_STAMP: Final = re.compile(rb'"@(\d{19})')
_ENDLESS: Final = 1 << 60
_BLANK: Final = (
    b'"kv_transfer_params":{"do_remote_decode":true,"do_remote_prefill":false,"remote_engine_id":null,'
    b'"remote_block_ids":null,"remote_host":null,"remote_port":null},'
)
_PATIENCE: Final = 30.0


def ns_list() -> "array[int]":
    return array("q")


@dataclass(slots=True)
class Tally:
    """What the clients saw since the last ``clear``. Nanoseconds."""

    requests: int = 0
    tokens: int = 0
    stalls: int = 0
    worst_gap: int = 0
    latency: "array[int]" = field(default_factory=ns_list)
    ttft: "array[int]" = field(default_factory=ns_list)
    transit: "array[int]" = field(default_factory=ns_list)
    failure: str = ""

    def clear(self) -> None:
        """Failures stay: one is enough to distrust the rest."""
        self.requests = self.tokens = self.stalls = self.worst_gap = 0
        self.latency, self.ttft, self.transit = ns_list(), ns_list(), ns_list()


class Asker:
    """One client. With a ``prefill`` leg it does a P/D router's work itself: a split stack's direct run."""

    def __init__(self, tally: Tally, done: Callable[[], None]) -> None:
        self._tally, self._done = tally, done
        self._sent = self._before = 0
        self._first, self._idle = True, True
        self.left, self.make = 0, _nothing
        self.prefill: PrefillLeg | None = None

    async def open(self, port: int, prefill_port: int | None) -> None:
        self._wire = await dial(port, self)
        if prefill_port is not None:
            self.prefill = PrefillLeg(self)
            self.prefill.wire = await dial(prefill_port, self.prefill)

    def ask(self) -> None:
        """The next request, if there is one to make."""
        self._idle = self.left <= 0
        if self._idle:
            self._done()
            return
        self.left -= 1
        self._first, request = True, self.make()
        self._sent = monotonic_ns()
        if self.prefill is None:
            self._wire.send(request)
        else:
            self.prefill.ask(request)

    def decode(self, request: bytes) -> None:
        self._wire.send(request)

    def piece(self, payload: bytes) -> None:
        now, tally = monotonic_ns(), self._tally
        for stamp in _STAMP.findall(payload):
            transit = now - int(stamp)
            tally.tokens += 1
            tally.transit.append(transit)
            if self._first:
                self._first = False
                tally.ttft.append(now - self._sent)
            else:
                gap = transit - self._before
                tally.stalls += gap >= STALL_NS
                tally.worst_gap = max(tally.worst_gap, gap)
            self._before = transit

    def ended(self, status: int) -> None:
        if status != 200 or self._first:
            self.failed(f"status {status}, {'no' if self._first else 'a'} token seen")
            return
        self._tally.requests += 1
        self._tally.latency.append(monotonic_ns() - self._sent)
        self.ask()

    def lost(self) -> None:
        if not self._idle:
            self.failed("the connection was closed during an answer")

    def failed(self, why: str) -> None:
        self._tally.failure, self.left, self._idle = why, 0, True
        self._done()

    def close(self) -> None:
        self._wire.close()
        if self.prefill is not None:
            self.prefill.wire.close()


def _nothing() -> bytes:
    raise RuntimeError("a client asked before it was told what")


class PrefillLeg:
    """The first leg of a round that the client splits itself."""

    wire: Wire

    def __init__(self, asker: Asker) -> None:
        self._asker, self._request, self._answer = asker, b"", b""

    def ask(self, request: bytes) -> None:
        self._request, self._answer = request, b""
        self.wire.send(spliced(request.replace(b'"stream":true', b'"stream":false'), _BLANK))

    def piece(self, payload: bytes) -> None:
        self._answer += payload

    def ended(self, status: int) -> None:
        if status != 200:
            self._asker.failed(f"prefill leg: status {status}")
            return
        params = orjson.dumps(orjson.loads(self._answer)["kv_transfer_params"])
        self._asker.decode(spliced(self._request, b'"kv_transfer_params":%s,' % params))

    def lost(self) -> None:
        self._asker.lost()


class Crowd:
    """A fixed number of clients on their connections."""

    def __init__(self, clients: int, tally: Tally) -> None:
        self.tally = tally
        self._active = 0
        self._calm = asyncio.Event()
        self._askers = [Asker(tally, self._one_done) for _ in range(clients)]

    async def open(self, port: int, prefill_port: int | None = None) -> None:
        for asker in self._askers:
            await asker.open(port, prefill_port)

    def start(
        self, makes: Sequence[Callable[[], bytes]], rounds: int = _ENDLESS, *, apart: float = 0.0
    ) -> None:
        """Each client asks what its entry of ``makes`` gives, so many times. They begin ``apart`` seconds
        after one another."""
        self._active = len(self._askers)
        self._calm.clear()
        for asker, make in zip(self._askers, makes, strict=True):
            asker.left, asker.make = rounds, make
        if not apart:
            for asker in self._askers:
                asker.ask()
            return
        loop = asyncio.get_running_loop()
        for number, asker in enumerate(self._askers):
            loop.call_later(number * apart, asker.ask)

    async def finish(self) -> None:
        """Ask nothing more; wait for what is open."""
        for asker in self._askers:
            asker.left = 0
        await self.calm()

    async def calm(self, *, within: float = _PATIENCE) -> None:
        try:
            await asyncio.wait_for(self._calm.wait(), within)
        except TimeoutError:
            raise LoadFailed(f"{self._active} requests got no whole answer within {within:g} s") from None
        if self.tally.failure:
            raise LoadFailed(self.tally.failure)

    def close(self) -> None:
        for asker in self._askers:
            asker.close()

    def _one_done(self) -> None:
        self._active -= 1
        if self._active <= 0:
            self._calm.set()

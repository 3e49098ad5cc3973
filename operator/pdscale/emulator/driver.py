"""Turns the pure engine into one that lives: it waits, sends errands and hands out tokens.

One task and one timer per engine, however many requests there are. An iteration that ends late
shortens the next one, by at most its own length: the mean rate stays true on a busy machine, and a
machine that cannot keep up does not build up debt.
"""

import asyncio
from collections.abc import Iterable
from typing import Any, Protocol

from pdscale.emulator.engine import Engine, Output
from pdscale.emulator.sequence import Finish, Request, Sequence
from pdscale.model.units import Seconds


class Ticket:
    """A request as its client sees it: outputs in order, until one has ``finish``."""

    __slots__ = ("finished", "outputs", "sequence")

    def __init__(self, sequence: Sequence) -> None:
        self.sequence = sequence
        self.outputs: asyncio.Queue[Output] = asyncio.Queue()
        self.finished = False

    def put(self, output: Output) -> None:
        self.finished = output.finish is not None
        self.outputs.put_nowait(output)


class Courier(Protocol):
    """Runs the errands of the engine's ``transfers``, each in a task of its own."""

    async def run(self, errand: Any) -> None: ...


class Driver:
    """Owns the clock of one engine. ``run`` ends only by cancellation or the engine's death."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.courier: Courier | None = None
        self._loop = asyncio.get_running_loop()
        self._tickets: dict[str, Ticket] = {}
        self._wake = asyncio.Event()
        self._errands: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        try:
            await self._iterate()
        except Exception:
            for ticket in tuple(self._tickets.values()):
                ticket.put(Output(ticket.sequence, None, Finish.ERROR))
            raise

    async def close(self) -> None:
        for task in tuple(self._errands):
            task.cancel()
        await asyncio.gather(*self._errands, return_exceptions=True)

    def submit(self, request: Request) -> Ticket:
        ticket = Ticket(self.engine.submit(request, self.now()))
        self._tickets[request.id] = ticket
        self._wake.set()
        return ticket

    def leave(self, ticket: Ticket) -> None:
        """The client is gone, or has everything."""
        name = ticket.sequence.request.id
        del self._tickets[name]
        if not ticket.finished:
            self.engine.abort(name, self.now())
            self.react()

    # For couriers.

    def now(self) -> Seconds:
        return self._loop.time()

    def react(self) -> None:
        """Something has happened to the engine: see what follows, at once where it is an errand."""
        self._send_errands()
        self._wake.set()

    def fail(self, request: str) -> None:
        """The KV of a request cannot be had."""
        output = self.engine.fail(request, self.now())
        if output is not None:
            self._hand_out([output])
        self.react()

    # The loop.

    async def _iterate(self) -> None:
        ended = self.now()
        while True:
            self._wake.clear()
            now = self.now()
            self._hand_out(self.engine.advance(now))
            iteration = self.engine.begin(now)
            self._send_errands()
            if iteration is None:
                await self._rest()
                ended = self.now()
                continue
            ends = max(ended, now - iteration.seconds) + iteration.seconds
            await asyncio.sleep(ends - now)
            self._hand_out(self.engine.end(iteration, self.now()))
            ended = ends

    async def _rest(self) -> None:
        until = self.engine.next_event
        timer = self._loop.call_at(until, self._wake.set) if until is not None else None
        await self._wake.wait()
        if timer is not None:
            timer.cancel()

    def _hand_out(self, outputs: Iterable[Output]) -> None:
        for output in outputs:
            ticket = self._tickets.get(output.sequence.request.id)
            if ticket is not None:
                ticket.put(output)

    def _send_errands(self) -> None:
        transfers, courier = self.engine.transfers, self.courier
        if transfers is None or courier is None or not transfers.errands:
            return
        errands, transfers.errands = transfers.errands, []
        for errand in errands:
            task = self._loop.create_task(courier.run(errand))
            self._errands.add(task)
            task.add_done_callback(self._errands.discard)

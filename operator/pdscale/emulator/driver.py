"""Turns the pure engine into one that lives: it waits, sends errands and hands out tokens.

One task and one timer per engine, however many requests there are. An iteration that ends late
shortens the next one, by at most its own length: the mean rate stays true on a busy machine, and a
machine that cannot keep up does not build up debt.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any

from pdscale.emulator.blocks import Content
from pdscale.emulator.connector import Connector, Errand, Heartbeat, Notify, Pull
from pdscale.emulator.engine import Engine, Output
from pdscale.emulator.sequence import Finish, Request, Sequence
from pdscale.emulator.side_channel import Peers, PeerUnreachable
from pdscale.emulator.transfer import TransferParams
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


class Driver:
    """Owns the clock of one engine. ``run`` ends only by cancellation or the engine's death."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._loop = asyncio.get_running_loop()
        self._tickets: dict[str, Ticket] = {}
        self._wake = asyncio.Event()
        self._errands: set[asyncio.Task[None]] = set()
        self._peers: Peers | None = None
        if engine.connector is not None:
            timeout = engine.connector.config.handshake_timeout
            self._peers = Peers(timeout=timeout, clock=self._loop.time)

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
        if self._peers is not None:
            await self._peers.close()

    def submit(self, request: Request) -> Ticket:
        ticket = Ticket(self.engine.submit(request, self._loop.time()))
        self._tickets[request.id] = ticket
        self._wake.set()
        return ticket

    def leave(self, ticket: Ticket) -> None:
        """The client is gone, or has everything."""
        name = ticket.sequence.request.id
        del self._tickets[name]
        if not ticket.finished:
            self.engine.abort(name, self._loop.time())
            self._react()

    def give_up(self, params: TransferParams | None) -> None:
        connector = self.engine.connector
        if connector is not None and params is not None:
            connector.give_up(params)
            self._react()

    # What peers ask for.

    def serve(self, blocks: list[int], tokens: int) -> tuple[tuple[Content, ...], Seconds]:
        return self._connector.serve(blocks, tokens=tokens, now=self._loop.time())

    def done(self, requests: list[str]) -> None:
        for request in requests:
            self._connector.done(request)
        self._wake.set()

    def alive(self, requests: list[str]) -> None:
        self._connector.alive(requests, self._loop.time())

    # The loop.

    async def _iterate(self) -> None:
        ended = self._loop.time()
        while True:
            self._wake.clear()
            now = self._loop.time()
            self.engine.advance(now)
            iteration = self.engine.begin(now)
            self._send_errands()
            if iteration is None:
                await self._rest()
                ended = self._loop.time()
                continue
            ends = max(ended, now - iteration.seconds) + iteration.seconds
            await asyncio.sleep(ends - now)
            self._hand_out(self.engine.end(iteration, self._loop.time()))
            ended = ends

    async def _rest(self) -> None:
        until = self.engine.next_event
        timer = self._loop.call_at(until, self._wake.set) if until is not None else None
        await self._wake.wait()
        if timer is not None:
            timer.cancel()

    def _hand_out(self, outputs: list[Output]) -> None:
        for output in outputs:
            ticket = self._tickets.get(output.sequence.request.id)
            if ticket is not None:
                ticket.put(output)

    # Errands.

    @property
    def _connector(self) -> Connector:
        if self.engine.connector is None:
            raise RuntimeError("an engine without a connector has no peers")
        return self.engine.connector

    def _react(self) -> None:
        self._send_errands()
        self._wake.set()

    def _send_errands(self) -> None:
        connector = self.engine.connector
        if connector is None or not connector.errands:
            return
        errands, connector.errands = connector.errands, []
        for errand in errands:
            self._spawn(self._run_errand(errand))

    def _spawn(self, errand: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(errand)
        self._errands.add(task)
        task.add_done_callback(self._errands.discard)

    async def _run_errand(self, errand: Errand) -> None:
        peers = self._peers
        if peers is None:
            return
        match errand:
            case Pull():
                await self._pull(peers, errand)
            case Notify(remote):
                await self._tell(peers.tell(remote, "done", [remote.request]))
            case Heartbeat(remote, requests):
                await self._tell(peers.tell(remote, "alive", list(requests)))

    async def _pull(self, peers: Peers, pull: Pull) -> None:
        try:
            contents, ready_in = await peers.read(pull)
        except PeerUnreachable:
            output = self.engine.fail(pull, self._loop.time())
            if output is not None:
                self._hand_out([output])
        else:
            now = self._loop.time()
            self._connector.deliver(pull, contents, ready_in=ready_in, now=now)
        self._wake.set()

    async def _tell(self, message: Coroutine[Any, Any, None]) -> None:
        try:
            await message
        except PeerUnreachable:
            self.engine.stats.failed_notifications += 1

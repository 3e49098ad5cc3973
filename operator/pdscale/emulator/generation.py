"""One generation request over HTTP: from the body to the last byte, whichever engine's body it is.

A stream begins with its first token and not before, so that everything that goes wrong until then is
an honest status code. A client that leaves takes its request with it.
"""

import asyncio

from aiohttp import web

from pdscale.emulator.choice import stop_of
from pdscale.emulator.driver import Driver, Ticket
from pdscale.emulator.engine import Output
from pdscale.emulator.face import Face, Order, json_answer
from pdscale.emulator.openai import Kind
from pdscale.emulator.refusals import LOST, Refused
from pdscale.emulator.replies import End
from pdscale.emulator.sequence import Finish


class Generation:
    """Counts what is under way, so that a server can wait for it."""

    def __init__(self, driver: Driver, face: Face) -> None:
        self.inflight = 0
        self.idle = asyncio.Event()
        self._driver = driver
        self._face = face

    async def __call__(self, http: web.Request, kind: Kind) -> web.StreamResponse:
        try:
            order = self._face.read(kind, http.headers, await http.read())
            ticket = self._driver.submit(order.request)
        except Refused as refused:
            return json_answer(refused.status, self._face.error(refused))
        self.inflight += 1
        self.idle.clear()
        try:
            answer = self._stream if order.stream else self._whole
            return await answer(http, order, ticket)
        finally:
            self._driver.leave(ticket)
            self.inflight -= 1
            if not self.inflight:
                self.idle.set()

    async def _whole(self, _: web.Request, order: Order, ticket: Ticket) -> web.StreamResponse:
        tokens = []
        while True:
            output = await ticket.outputs.get()
            if output.token is not None:
                tokens.append(output.token)
            if output.finish is Finish.ERROR:
                return json_answer(LOST.status, self._face.error(LOST))
            end = _end(output)
            if end is not None:
                return json_answer(200, order.spelling.whole(tokens, end))

    async def _stream(self, http: web.Request, order: Order, ticket: Ticket) -> web.StreamResponse:
        output = await ticket.outputs.get()
        if output.finish is Finish.ERROR:
            return json_answer(LOST.status, self._face.error(LOST))
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        response.enable_chunked_encoding()
        await response.prepare(http)
        spelling = order.spelling
        events, generated = spelling.opening(), 0
        while output.token is not None:
            generated += 1
            end = _end(output)
            events += spelling.token(output.token, first=generated == 1, end=end)
            if end is not None:
                events += spelling.closing(generated, end.cached)
                break
            await response.write(events)
            events, output = b"", await ticket.outputs.get()
        else:
            events += self._face.error_event(LOST)
        await response.write(events)
        await response.write_eof()
        return response


def _end(output: Output) -> End | None:
    if output.finish is None:
        return None
    sequence = output.sequence
    stopped_by = stop_of(sequence) if output.finish is Finish.STOP else None
    return End(output.finish, sequence.cached, stopped_by, output.params)

"""How emulated engines reach each other: the stand-in for NIXL's side channel and its transfers.

One TCP connection per peer, kept by the peer's engine id: once two engines have met, the address in
a request no longer matters. ``read`` and ``hello`` are answered; ``done`` and ``alive`` are not. The bytes
of the KV itself never travel: a block is told by the tokens in it, and the time that its bytes would take is
the engines' to keep.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from pdscale.emulator.blocks import Content
from pdscale.emulator.errands import Pull
from pdscale.emulator.frames import receive_frame, send_frame
from pdscale.emulator.listener import Listener
from pdscale.emulator.transfer import Remote
from pdscale.model.units import Seconds

_RETRY: Final = 0.05


class PeerUnreachable(Exception):
    """Another engine did not answer: its fault or the network's. Asking again soon will not help."""


class Served(Protocol):
    """What an engine does for its peers."""

    def serve(self, blocks: list[int], tokens: int) -> tuple[tuple[Content, ...], Seconds]: ...

    def done(self, requests: list[str]) -> None: ...

    def alive(self, requests: list[str]) -> None: ...


class SideChannel:
    """The listening side. ``port`` 0 takes any free one; ``address`` says which."""

    def __init__(self, engine_id: str, served: Served) -> None:
        self._engine_id = engine_id
        self._served = served
        self._listener = Listener(self._talk)

    async def start(self, host: str, port: int) -> int:
        return await self._listener.start(host, port)

    async def close(self) -> None:
        await self._listener.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                answer = self._answer(await receive_frame(reader))
                if answer is not None:
                    send_frame(writer, answer)
                    await writer.drain()
        except (OSError, EOFError, ValueError):
            pass  # the peer left or talks nonsense: all the same to us

    def _answer(self, message: Mapping[str, Any]) -> object | None:
        match message:
            case {"op": "hello"}:
                return {"engine": self._engine_id}
            case {"op": "read", "blocks": list(blocks), "tokens": int(tokens)}:
                contents, ready_in = self._served.serve(blocks, tokens)
                return {"contents": [tuple(c) for c in contents], "ready_in": ready_in}
            case {"op": "done", "requests": list(requests)}:
                self._served.done(requests)
            case {"op": "alive", "requests": list(requests)}:
                self._served.alive(requests)
            case _:
                raise ValueError(f"side channel message must be a known operation, got {message!r}")
        return None


class Peers:
    """The calling side: connections to the engines that this one has met."""

    def __init__(self, *, timeout: Seconds, clock: Callable[[], Seconds]) -> None:
        self._timeout = timeout
        self._clock = clock
        self._connected: dict[str, _Peer] = {}
        self._met: set[str] = set()
        self._meeting = asyncio.Lock()

    async def read(self, pull: Pull) -> tuple[tuple[Content, ...], Seconds]:
        """Contents of the blocks, and how long the peer's card takes to send them."""
        question = {"op": "read", "blocks": list(pull.blocks), "tokens": pull.tokens}
        answer = await self._ask(pull.remote, question)
        contents = tuple(Content(seen, tuple(tokens)) for seen, tokens in answer["contents"])
        return contents, float(answer["ready_in"])

    async def tell(self, remote: Remote, op: str, requests: list[str]) -> None:
        await self._ask(remote, {"op": op, "requests": requests}, answered=False)

    async def close(self) -> None:
        for peer in self._connected.values():
            peer.writer.close()
        self._connected.clear()

    async def _ask(self, remote: Remote, message: object, *, answered: bool = True) -> Any:
        peer = await self._meet(remote)
        try:
            return await peer.ask(message, answered=answered)
        except (OSError, EOFError, ValueError) as error:
            self._connected.pop(remote.engine, None)
            peer.writer.close()
            raise PeerUnreachable(f"engine {remote.engine} hung up: {error}") from error

    async def _meet(self, remote: Remote) -> "_Peer":
        async with self._meeting:
            peer = self._connected.get(remote.engine)
            if peer is None:
                peer = await self._shake_hands(remote)
                self._connected[remote.engine] = peer
                self._met.add(remote.engine)
            return peer

    async def _shake_hands(self, remote: Remote) -> "_Peer":
        """Try until the time-out: a peer that was never met may still be starting.

        One that was met and does not answer is dead, and trying once tells.
        """
        give_up = self._clock() + self._timeout
        while True:
            try:
                async with asyncio.timeout(max(_RETRY, give_up - self._clock())):
                    reader, writer = await asyncio.open_connection(remote.host, remote.port)
                    peer = _Peer(reader, writer)
                    name = (await peer.ask({"op": "hello"}))["engine"]
            except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
                if remote.engine in self._met or self._clock() + _RETRY >= give_up:
                    raise PeerUnreachable(
                        f"no engine at {remote.host}:{remote.port} within {self._timeout}s"
                    ) from error
                await asyncio.sleep(_RETRY)
                continue
            if name != remote.engine:
                writer.close()
                raise PeerUnreachable(
                    f"engine at {remote.host}:{remote.port} must be {remote.engine}, got {name}"
                )
            return peer


class _Peer:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self._turn = asyncio.Lock()

    async def ask(self, message: object, *, answered: bool = True) -> Any:
        async with self._turn:
            # Broken by an errand that was here before, or reset while nobody used it.
            if self.reader.at_eof() or self.writer.is_closing():
                raise EOFError("connection closed")
            send_frame(self.writer, message)
            await self.writer.drain()
            return await receive_frame(self.reader) if answered else None

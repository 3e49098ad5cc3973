"""Carries a connector's errands to other engines, and theirs to it, over the side channel."""

from collections.abc import Coroutine
from typing import Any, Self

from pdscale.emulator.blocks import Content
from pdscale.emulator.connector import Connector
from pdscale.emulator.driver import Driver
from pdscale.emulator.errands import Errand, Heartbeat, Notify, Pull
from pdscale.emulator.side_channel import Peers, PeerUnreachable, SideChannel
from pdscale.emulator.transfer import Origin, TransferParams
from pdscale.model.units import Seconds


class NixlCourier:
    """Serves peers until it is closed. Its connector learns the address that it listens on."""

    def __init__(self, driver: Driver, connector: Connector) -> None:
        self._driver = driver
        self._connector = connector
        self._peers = Peers(timeout=connector.config.handshake_timeout, clock=driver.now)
        self._channel = SideChannel(connector.origin.engine, self)

    async def open(self, host: str, port: int) -> Self:
        bound = await self._channel.start(host, port)
        self._connector.origin = Origin(self._connector.origin.engine, host, bound)
        return self

    async def close(self) -> None:
        await self._peers.close()
        await self._channel.close()

    def give_up(self, params: TransferParams | None) -> None:
        """A decode leg was refused before it became a request."""
        if params is not None:
            self._connector.give_up(params)
            self._driver.react()

    # What peers ask for.

    def serve(self, blocks: list[int], tokens: int) -> tuple[tuple[Content, ...], Seconds]:
        return self._connector.serve(blocks, tokens=tokens, now=self._driver.now())

    def done(self, requests: list[str]) -> None:
        for request in requests:
            self._connector.done(request)
        self._driver.react()

    def alive(self, requests: list[str]) -> None:
        self._connector.alive(requests, self._driver.now())

    # What is asked of peers.

    async def run(self, errand: Errand) -> None:
        match errand:
            case Pull():
                await self._pull(errand)
            case Notify(remote):
                await self._tell(self._peers.tell(remote, "done", [remote.request]))
            case Heartbeat(remote, requests):
                await self._tell(self._peers.tell(remote, "alive", list(requests)))

    async def _pull(self, pull: Pull) -> None:
        try:
            contents, ready_in = await self._peers.read(pull)
        except PeerUnreachable:
            self._driver.fail(pull.request)
        else:
            self._connector.deliver(pull, contents, ready_in=ready_in, now=self._driver.now())
            self._driver.react()

    async def _tell(self, message: Coroutine[Any, Any, None]) -> None:
        try:
            await message
        except PeerUnreachable:
            self._driver.engine.stats.failed_notifications += 1

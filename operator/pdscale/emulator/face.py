"""What differs between the emulated servers: how KV moves, what bodies mean, and which paths there are."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from aiohttp import web
from prometheus_client import CollectorRegistry

from pdscale.emulator.driver import Driver
from pdscale.emulator.engine import NewTransfers
from pdscale.emulator.openai import Kind
from pdscale.emulator.refusals import Refused
from pdscale.emulator.replies import Spelling
from pdscale.emulator.sequence import Request

Generate = Callable[[web.Request, Kind], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Order:
    """A body that was understood: what the engine is asked, and how the client wants to hear of it."""

    request: Request
    spelling: Spelling
    stream: bool


class Face(Protocol):
    """One engine's protocol. ``open`` is called once, with the engine that ``transfers`` went into."""

    @property
    def transfers(self) -> NewTransfers | None: ...

    async def open(self, driver: Driver) -> None: ...

    async def close(self) -> None: ...

    def read(self, kind: Kind, headers: Mapping[str, str], raw: bytes) -> Order:
        """Raises ``Refused``."""

    def error(self, refused: Refused) -> bytes:
        """The body of an answer that is none."""

    def error_event(self, refused: Refused) -> bytes:
        """The same within a stream, and its end."""

    def registry(self, *, started: float) -> CollectorRegistry: ...

    def routes(self, generate: Generate, inflight: Callable[[], int]) -> Iterable[web.RouteDef]:
        """Paths that no other engine has."""


def json_answer(status: int, body: bytes) -> web.Response:
    return web.Response(status=status, body=body, content_type="application/json")

"""One request of a gateway, from its head to the end of its answer: a state machine without I/O.

Each message of the gateway is fed in, and what comes back is said to it, in order. The dialogue counts as an
open request of the front until it is closed, and must be closed however it ends.
"""

from typing import Any, Final

from pdscale.engines.answers import error_body
from pdscale.engines.errors import UnreadableBody
from pdscale.router.picker import messages as m
from pdscale.router.picker.answering import Answering
from pdscale.router.picker.asking import Asking, NoReplica
from pdscale.router.picker.desk import CLIENT_LEFT, Desk
from pdscale.router.wire.errors import BadRequest

_JSON: Final = ("content-type", "application/json")
_RETRY: Final = ("retry-after", "1")


class OutOfTurn(ValueError):
    """A message that cannot follow what came before it."""


class Dialogue:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._asking: Asking | None = None
        self._answering: Answering | None = None
        self._refused = 0
        self._shown = m.NONE
        desk.began()

    @property
    def over(self) -> bool:
        """The client has got its answer, and nothing more is to be said."""
        return bool(self._refused) or (self._answering is not None and self._answering.over)

    def feed(self, request: Any) -> list[Any]:
        """Raises ``OutOfTurn``."""
        kind = request.WhichOneof("request")
        try:
            match kind:
                case "request_headers":
                    return self._begin(request)
                case "request_body":
                    body = request.request_body
                    return self._asked(kind).body(body.body, ends=body.end_of_stream)
                case "request_trailers":
                    return self._asked(kind).trailers()
                case "response_headers":
                    return self._answer(request)
                case "response_body":
                    body = request.response_body
                    return self._answered(kind).body(body.body, ends=body.end_of_stream)
                case "response_trailers":
                    return self._answered(kind).trailers()
        except NoReplica as error:
            if self._asking is not None and self._asking.is_round:
                self._desk.meters.failed()
            return self._refuse(error.busy.status, str(error), error.busy.reason, retry=True)
        except BadRequest as error:
            return self._refuse(error.status, error.message, "BadRequest")
        except UnreadableBody as error:
            return self._refuse(400, str(error), "BadRequest")
        raise OutOfTurn(f"a message must be of a request or of a response, got {kind}")

    def close(self) -> None:
        asking, answering = self._asking, self._answering
        self._desk.ended(
            (self._refused or CLIENT_LEFT) if answering is None else answering.status,
            None if asking is None else asking.inbound,
            None if asking is None else asking.picked,
        )

    def _begin(self, request: Any) -> list[Any]:
        if self._asking is not None:
            raise OutOfTurn("request_headers must come once, got them again")
        asked, self._shown = m.modes(request)
        self._asking = Asking(self._desk, asked, reads_answer=self._shown == m.FULL_DUPLEX)
        return self._asking.headers(request)

    def _answer(self, request: Any) -> list[Any]:
        asking = self._asked("response_headers")
        self._answering = Answering(self._desk, asking.inbound, asking.picked, self._shown)
        return self._answering.headers(request)

    def _asked(self, kind: str) -> Asking:
        if self._asking is None:
            raise OutOfTurn(f"request_headers must come first, got {kind}")
        return self._asking

    def _answered(self, kind: str) -> Answering:
        if self._answering is None:
            raise OutOfTurn(f"response_headers must come before {kind}")
        return self._answering

    def _refuse(self, status: int, message: str, kind: str, *, retry: bool = False) -> list[Any]:
        self._refused = status
        content = error_body(message, kind=kind, status=status)
        headers = [_JSON, _RETRY] if retry else [_JSON]
        return [m.immediate(status, content, headers, kind)]

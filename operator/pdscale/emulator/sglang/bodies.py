"""SGLang's own bodies: rooms in requests, and the native ``/generate``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from pdscale.emulator.modes import Mode
from pdscale.emulator.openai import Asked, Kind, Served, read_request
from pdscale.emulator.refusals import bad
from pdscale.emulator.replies import DONE, End, event, shown
from pdscale.emulator.sequence import Room
from pdscale.emulator.tokens import Token

_HEADERS: Final = {
    "bootstrap_host": "x-override-bootstrap-host",
    "bootstrap_port": "x-override-bootstrap-port",
    "bootstrap_room": "x-override-bootstrap-room",
}
_LAST_ROOM: Final = 2**63 - 1


def room_of(body: Mapping[str, Any], headers: Mapping[str, str], *, mode: Mode, port: int) -> Room:
    """Where the other leg will be; ``port`` is the bootstrap server's unless the request names one."""
    asked = {name: headers.get(header, body.get(name)) for name, header in _HEADERS.items()}
    number = _whole("bootstrap_room", asked["bootstrap_room"], most=_LAST_ROOM)
    if number is None:
        raise bad("bootstrap_room", f"bootstrap_room must be given to a {mode} instance, got none")
    given = _whole("bootstrap_port", asked["bootstrap_port"], most=65535)
    host = asked["bootstrap_host"]
    if host is None and mode is Mode.DECODE:
        raise bad("bootstrap_host", "bootstrap_host must be given to a decode instance, got none")
    return Room(str(host), port if given is None else given, number, fetches=mode is Mode.DECODE)


def read_native(
    body: Mapping[str, Any], *, name: str, served: Served, headers: Mapping[str, str]
) -> tuple[Asked, str]:
    """``/generate`` as far as it is a completion; the name under which it is answered."""
    params = body.get("sampling_params") or {}
    if not isinstance(params, Mapping):
        raise bad("sampling_params", f"sampling_params must be an object, got {params!r}")
    as_completion = {
        "prompt": body.get("text") if body.get("input_ids") is None else body["input_ids"],
        "max_tokens": params.get("max_new_tokens", 128),
        "min_tokens": params.get("min_new_tokens"),
        "ignore_eos": params.get("ignore_eos"),
        "stop": params.get("stop"),
        "n": params.get("n"),
        "stream": body.get("stream"),
        "priority": body.get("priority"),
    }
    asked = read_request(as_completion, kind=Kind.NATIVE, name=name, served=served, headers=headers)
    return asked, str(body.get("rid") or name)


@dataclass(frozen=True, slots=True)
class NativeReply:
    """Every event of a stream has the whole text so far, as the real one's."""

    id: str
    prompt_tokens: int
    said: list[Token]

    def whole(self, tokens: Sequence[Token], end: End) -> bytes:
        return orjson.dumps(self._body(tokens, end))

    def opening(self) -> bytes:
        return b""

    def token(self, token: Token, *, first: bool, end: End | None = None) -> bytes:
        self.said.append(token)
        return event(self._body(self.said, end))

    def closing(self, generated: int, cached: int) -> bytes:
        return DONE

    def _body(self, tokens: Sequence[Token], end: End | None) -> dict[str, Any]:
        meta: dict[str, Any] = {
            "id": self.id,
            "finish_reason": None if end is None else _reason(end, len(tokens)),
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": len(tokens),
            "cached_tokens": 0 if end is None else end.cached,
        }
        return {"text": shown(tokens, end), "output_ids": list(tokens), "meta_info": meta}


def _reason(end: End, length: int) -> dict[str, Any]:
    if end.stopped_by is not None:
        return {"type": "stop", "matched": end.stopped_by}
    return {"type": str(end.finish), "length": length}


def _whole(name: str, given: object, *, most: int) -> int | None:
    if given is None:
        return None
    try:
        figure = int(given) if isinstance(given, str) else given
    except ValueError:
        figure = None
    if not isinstance(figure, int) or isinstance(figure, bool) or not 0 <= figure <= most:
        raise bad(name, f"{name} must be a whole number in 0..{most}, got {given!r}")
    return figure

"""A mock engine: answers as fast as bytes can be written, so that what is measured is the proxy before it.

Two listeners in one process, a prefill and a decode engine. Both speak vLLM's NIXL pull contract in the form
of its dicts, and keep its rules as a check on the proxy: parameters name blocks, are used once, and never
have both flags false. What breaks a rule is answered 400 and counted as a fault. SGLang's bootstrap fields
are taken as they come.

Every token carries the time at which it was sent (``@`` and 19 digits of CLOCK_MONOTONIC nanoseconds), so
that a client on the same machine sees its transit whatever the pacing did. No limits and no time-outs: the
peers are our own.
"""

import argparse
import asyncio
import gc
import json
import re
import sys
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from time import monotonic_ns
from typing import Any, Final, cast

import orjson
import uvloop

_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)")
_MOST_OPEN: Final = 200_000  # parameters remembered as unused; abandoned ones go, oldest first
_STAMP_DIGITS: Final = 19

_EVENT: Final = (
    b'data: {"id":"chatcmpl-mock","object":"chat.completion.chunk","created":1700000000,"model":"mock",'
    b'"choices":[{"index":0,"delta":{"content":"@',
    b' "},"logprobs":null,"finish_reason":null}]}\n\n',
)
_LAST: Final = b' "},"logprobs":null,"finish_reason":"length"}]'
_STREAM_HEAD: Final = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
)
_EVENT_SIZE: Final = b"%x\r\n" % (sum(map(len, _EVENT)) + _STAMP_DIGITS)
_ANSWER: Final = (
    b'{"id":"chatcmpl-mock","object":"chat.completion","created":1700000000,"model":"mock",'
    b'"choices":[{"index":0,"message":{"role":"assistant","content":"@',
    b' one two three four five six seven"},"logprobs":null,"finish_reason":"length"}],'
    b'"usage":{"prompt_tokens":40,"completion_tokens":%d,"total_tokens":%d}',
)
_GAUGES: Final = (
    b'vllm:num_requests_running{model_name="mock"} 1\n'
    b'vllm:num_requests_waiting{model_name="mock"} 0\n'
    b'vllm:kv_cache_usage_perc{model_name="mock"} 0.1\n'
)
_MODEL: Final = b'{"object":"list","data":[{"id":"mock","object":"model","owned_by":"mock"}]}'
_ABOUT: Final = b'{"model_path":"mock","is_generation":true,"tp_size":1,"dp_size":1}'
_GET: Final = {
    b"/health": (b"text/plain", b"ok"),
    b"/health_generate": (b"text/plain", b"ok"),
    b"/v1/models": (b"application/json", _MODEL),
    b"/metrics": (b"text/plain; version=0.0.4", _GAUGES),
    b"/get_model_info": (b"application/json", _ABOUT),
    b"/model_info": (b"application/json", _ABOUT),
    b"/get_server_info": (b"application/json", _ABOUT),
    b"/server_info": (b"application/json", _ABOUT),
}


@dataclass(slots=True)
class Transfers:
    """Parameters handed out and not used yet, and how often each kind of request came, by engine."""

    seen: Counter[str] = field(default_factory=Counter)
    _open: dict[str, None] = field(default_factory=dict)
    _serial: int = 0

    def use(self, params: dict[str, Any]) -> str:
        """Why these may not be used; empty if they may."""
        fetch, keep = params.get("do_remote_prefill"), params.get("do_remote_decode")
        if bool(fetch) == bool(keep):
            return f"exactly one flag must be set, got do_remote_prefill={fetch}, do_remote_decode={keep}"
        name = params.get("remote_request_id")
        if fetch and not params.get("remote_block_ids"):
            return "do_remote_prefill without remote_block_ids"
        if params.get("remote_block_ids") and self._open.pop(str(name), "unknown") is not None:
            return f"parameters of {name} were used before or never handed out"
        return ""

    def hand_out(self, *, prefilled: bool) -> dict[str, Any]:
        self._serial += 1
        name = f"chatcmpl-{self._serial:012d}"
        self._open[name] = None
        if len(self._open) > _MOST_OPEN:
            del self._open[next(iter(self._open))]
        return {
            "do_remote_prefill": prefilled,
            "do_remote_decode": not prefilled,
            "remote_block_ids": [[11, 12, 13, 14, 15, 16, 17, 18]],
            "remote_engine_id": "4f3f5c0e-8d5e-4b53-9b5f-0c1f6f3e2a77",
            "remote_request_id": name,
            "remote_host": "127.0.0.1",
            "remote_port": 5600,
            "tp_size": 1,
            "dcp_size": 1,
            "pp_size": 1,
            "remote_num_tokens": 48,
            "remote_blocks_expiry_time": 1900000000.0,
            "remote_registration_generation": 1,
            "transfer_mode": "pull",
        }


@dataclass(frozen=True, slots=True)
class Engine:
    """What every connection of one listener shares."""

    role: str
    transfers: Transfers
    pace: float


class Conversation(asyncio.Protocol):
    """One connection: a request, its answer, the next request."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self._loop = engine, asyncio.get_running_loop()
        self._buffer, self._need, self._body_at = bytearray(), 0, 0
        self._busy, self._left, self._due = False, 0, 0.0
        self._tail = b""
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while not self._busy and self._take():
            pass

    def _take(self) -> bool:
        """Answer the request at the head of the buffer, if it is there whole."""
        buffer = self._buffer
        if not self._need:
            end = buffer.find(b"\r\n\r\n")
            if end < 0:
                return False
            length = _LENGTH.search(bytes(buffer[:end]).lower())
            self._body_at = end + 4
            self._need = self._body_at + (int(length[1]) if length else 0)
        if len(buffer) < self._need:
            return False
        line = bytes(buffer[: buffer.index(b"\r\n")])
        body = bytes(buffer[self._body_at : self._need])
        del buffer[: self._need]
        self._need = 0
        method, _, rest = line.partition(b" ")
        if method not in (b"GET", b"POST"):  # such as a probe for HTTP/2
            self._transport.close()
            return False
        self._request(rest.partition(b" ")[0], body if method == b"POST" else None)
        return True

    def _request(self, path: bytes, body: bytes | None) -> None:
        if body is not None and path.startswith(b"/v1/"):
            self._generate(body)
        elif path == b"/counts":
            self._whole(json.dumps(self._engine.transfers.seen).encode())
        elif path in _GET:
            self._whole(_GET[path][1], kind=_GET[path][0])
        else:
            self._whole(b"{}", status=b"404 Not Found")

    def _generate(self, body: bytes) -> None:
        transfers = self._engine.transfers
        try:
            asked = orjson.loads(body)
            params = asked.get("kv_transfer_params")
            wrong = transfers.use(params) if params is not None else ""
        except (orjson.JSONDecodeError, AttributeError) as error:
            asked, params, wrong = {}, None, f"not a request: {error}"
        if wrong:
            transfers.seen["fault"] += 1
            self._whole(orjson.dumps({"error": {"message": wrong}}), status=b"400 Bad Request")
            return
        handed = b""
        if params is not None:
            told = transfers.hand_out(prefilled=bool(params["do_remote_decode"]))
            handed = b',"kv_transfer_params":' + orjson.dumps(told)
        transfers.seen[self._engine.role] += 1
        # SGLang's prefill side gets the client's own limit and produces one token whatever it says.
        alone = self._engine.role == "prefill"
        tokens = 1 if alone else asked.get("max_completion_tokens") or asked.get("max_tokens") or 8
        if asked.get("stream"):
            usage = (asked.get("stream_options") or {}).get("include_usage")
            self._stream(tokens, handed, include_usage=bool(usage))
        else:
            start, end = _ANSWER
            self._whole(b"%s%019d%s%s}" % (start, monotonic_ns(), end % (tokens, 40 + tokens), handed))

    def _whole(self, content: bytes, *, kind: bytes = b"application/json", status: bytes = b"200 OK") -> None:
        self._transport.write(
            b"HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s"
            % (status, kind, len(content), content)
        )

    def _stream(self, tokens: int, handed: bytes, *, include_usage: bool) -> None:
        self._busy, self._left, self._due = True, tokens, self._loop.time()
        self._tail = _tail(tokens, handed, include_usage=include_usage)
        self._transport.write(_STREAM_HEAD)
        self._token()

    def _token(self) -> None:
        self._left -= 1
        start, end = _EVENT
        if self._left:
            self._transport.write(b"%s%s%019d%s\r\n" % (_EVENT_SIZE, start, monotonic_ns(), end))
            self._due += self._engine.pace
            self._timer = self._loop.call_at(self._due, self._token)
            return
        content = b"%s%019d%s" % (start, monotonic_ns(), self._tail)
        self._transport.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(content), content))
        self._busy = False
        self.data_received(b"")


def _tail(tokens: int, handed: bytes, *, include_usage: bool) -> bytes:
    """What follows the stamp of the last token; the parameters ride in the chunk with the finish reason."""
    usage = (
        b'data: {"id":"chatcmpl-mock","object":"chat.completion.chunk","created":1700000000,"model":"mock",'
        b'"choices":[],"usage":{"prompt_tokens":40,"completion_tokens":%d,"total_tokens":%d}}\n\n'
        % (tokens, 40 + tokens)
    )
    return b"%s%s}\n\n%sdata: [DONE]\n\n" % (_LAST, handed, usage if include_usage else b"")


async def serve(pace: float) -> None:
    """Print the ports as JSON, then run until standard input is closed: the starter's end is our end."""
    loop, transfers, ports = asyncio.get_running_loop(), Transfers(), {}
    for role in ("prefill", "decode"):
        engine = Engine(role, transfers, pace)
        server = await loop.create_server(partial(Conversation, engine), "127.0.0.1", 0, backlog=4096)
        ports[role] = server.sockets[0].getsockname()[1]
    print(json.dumps(ports), flush=True)
    gc.disable()  # connections are the only cycles, and they are few; a collection would be a stall of ours
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pace", type=float, default=0.020, help="seconds between two tokens of a stream")
    uvloop.run(serve(parser.parse_args().pace))

"""Chat requests as bytes."""

from typing import Any

import orjson


def chat(*, size: int, stream: bool, tokens: int) -> bytes:
    """A chat of ``size`` bytes: turns of 1 kB and a last one that fills up."""
    turn = "Tell me more about that, in plain words and with an example. " * 16
    turns = size // (len(turn) + 50)
    messages: list[dict[str, Any]] = [
        {"role": ("user", "assistant")[number % 2], "content": turn} for number in range(turns)
    ]
    messages.append({"role": "user", "content": ""})
    body = {"model": "mock", "messages": messages, "max_tokens": tokens, "stream": stream}
    lacking = size - len(orjson.dumps(body))
    if lacking < 0:
        raise ValueError(f"size must leave room for the fields, got {size}: {-lacking} bytes too few")
    messages[-1]["content"] = "x" * lacking
    return orjson.dumps(body)


def request(body: bytes, session: str) -> bytes:
    return (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
        b"X-Session-ID: %s\r\nContent-Length: %d\r\n\r\n%s" % (session.encode(), len(body), body)
    )


def spliced(message: bytes, fields: bytes) -> bytes:
    """The request with ``fields`` after its body's opening brace."""
    head, _, body = message.partition(b"\r\n\r\n")
    body = b"{" + fields + body[1:]
    start = head.rpartition(b"Content-Length: ")[0]
    return b"%sContent-Length: %d\r\n\r\n%s" % (start, len(body), body)
